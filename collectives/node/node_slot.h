/// What a NodeCommunicator's ranks show each other: two slots each, for a call and a small payload,
/// and behind all slots two pieces each, through which larger buffers outside windows pass.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <span>

#include "collectives/node/call.h"
#include "collectives/node/node_communicator.h"

namespace muster {

inline constexpr std::size_t payload_bytes = 4096;  // fits beside the call: one barrier is enough
inline constexpr std::size_t piece_bytes =
    256 * 1024;  // two per rank stay in a core's second cache

/// A rank's two slots alternate: whoever writes one again has passed a barrier that all entered
/// after reading it.
struct NodeCommunicator::Slot {
  Call call;
  alignas(64) std::array<std::byte, payload_bytes> payload;
};

inline std::byte* element_at(const Buffer& buffer, std::size_t element) {
  return static_cast<std::byte*>(buffer.data) + element * size_of(buffer.dtype);
}

/// Pointers to one place of every rank's memory. No allocation: this is on the path of the smallest
/// message.
class Pointers {
 public:
  void add(void* pointer) { pointers_[count_++] = pointer; }
  std::span<void* const> to() const { return {pointers_.data(), count_}; }
  std::span<const void* const> from() const { return {pointers_.data(), count_}; }

 private:
  std::array<void*, GroupBlock::most_members> pointers_;
  std::size_t count_ = 0;
};

}  // namespace muster
