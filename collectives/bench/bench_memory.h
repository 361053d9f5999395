/// BenchMemory: the two buffers of a bench: values that are kept, and what an operation works on.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "runtime/comm/buffer.h"
#include "runtime/comm/node_group.h"

namespace muster {

class BenchMemory {
 public:
  virtual ~BenchMemory() = default;
  virtual void keep(std::vector<std::byte> values) = 0;
  /// Copies what is kept into what is worked on, after the operations before it.
  virtual void rewrite() = 0;
  virtual void* data() const = 0;  ///< what is worked on
  virtual Device device() const = 0;
  /// What data() holds once settled.
  virtual std::span<const std::byte> contents() = 0;
  /// Returns when all that was asked for is over: on a GPU, calls return before.
  virtual void settle() = 0;
};

/// Makes memory of so many bytes. Collective where it shares windows.
using BenchMemorySource = std::function<std::unique_ptr<BenchMemory>(std::size_t bytes)>;
BenchMemorySource plain_memory();
/// What is worked on lies in a window of the node, as gradients do.
BenchMemorySource window_memory(NodeGroup& node);

}  // namespace muster
