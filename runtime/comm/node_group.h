/// NodeGroup: the ranks of one machine, which share memory. Gradients are born in it and parameters
/// live in it (design: training). Every rank calls share() and barrier() in the same order. Not
/// thread-safe, but for abort(). With a core for each rank, barrier() narrows the process's CPU
/// mask to this rank's share of the cores while spinning pays.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

#include "runtime/base/clock.h"

namespace muster {

/// Memory that all ranks of the node see, at an address of each rank's own. Zeroed, 4 KiB-aligned.
/// Unmapped by the destructor.
class SharedMemory {
 public:
  virtual ~SharedMemory() = default;
  virtual std::span<std::byte> bytes() noexcept = 0;
};

class NodeGroup {
 public:
  virtual ~NodeGroup() = default;
  virtual int rank() const noexcept = 0;  ///< local rank
  virtual int size() const noexcept = 0;  ///< ranks on this machine
  /// The same `bytes` of memory on every rank; the pages are reserved, so that a full machine fails
  /// here with a sentence. Collective.
  virtual std::unique_ptr<SharedMemory> share(std::size_t bytes) = 0;
  /// Returns when every rank has called it; what each wrote before is seen by all after. Tunes its
  /// own spinning (design: barrier). Throws Error(communication) naming the rank when one has died
  /// or aborted.
  virtual void barrier() = 0;
  /// Time this rank has spent waiting in barrier() so far.
  virtual Nanoseconds waited() const noexcept = 0;
  virtual void abort(std::string_view why) noexcept = 0;
};

/// A node of one rank.
std::unique_ptr<NodeGroup> solo_node_group();

}  // namespace muster
