/// GpuBuffers: a model's buffers (running statistics) in one flat allocation on the GPU, and beside
/// it what they were before the step: a pass moves them before anybody knows whether the step is
/// skipped, and then its update puts them back. The model's tensors become views.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "runtime/gpu/gpu.h"
#include "runtime/model/model.h"

namespace muster {

class GpuBuffers {
 public:
  GpuBuffers(Gpu& gpu, std::span<const NamedTensor> buffers);

  /// A skipped step goes back to what they are now: to be said after anything but a step changed
  /// them.
  void keep();
  /// Makes them what was kept last.
  void put_back();
  /// Lets an update know of them.
  void add_to(UpdateJob& job) const;

 private:
  std::byte* kept() const { return memory_.get() + bytes_; }

  Gpu& gpu_;
  std::size_t bytes_ = 0;
  std::shared_ptr<std::byte> memory_;  // twice as many: the tensors', and what was kept
};

}  // namespace muster
