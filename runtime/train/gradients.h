/// Gradients: where a step's gradients lie between backward and update. Each rank of a machine has
/// a window in one shared allocation; hold() takes what backward left in the parameters and writes
/// its places on the board, at() reads anybody's. Collective to make.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "runtime/comm/node_group.h"
#include "runtime/train/arena.h"
#include "runtime/train/gradient_pool.h"
#include "runtime/train/step_board.h"

namespace muster {

class Gradients {
 public:
  /// `lanes_per_rank`: how many lanes' gradients the busiest rank holds at once.
  Gradients(NodeGroup& node, Arena& arena, std::size_t lanes_per_rank);

  GradientPool& pool() { return *pool_; }
  /// Takes the gradients of all parameters (which are then undefined, as autograd wants them) and
  /// publishes them as `lane`. A gradient of another layout or outside the window is copied into
  /// it; `copied()` counts these.
  void hold(StepBoard& board, std::size_t lane);
  /// Segment `segment` of `lane`, which local rank `owner` holds; null where it has no gradient.
  const float* at(StepBoard& board, std::size_t lane, std::size_t owner, std::size_t segment) const;
  /// After the closing barrier: the blocks go back to the pool.
  void release() { held_.clear(); }
  std::uint64_t copied() const { return copied_; }

 private:
  at::Tensor in_window(const at::Tensor& gradient, const at::Tensor& parameter);

  Arena& arena_;
  std::size_t window_bytes_;
  std::shared_ptr<SharedMemory> memory_;
  std::unique_ptr<GradientPool> pool_;
  std::vector<at::Tensor> held_;
  std::uint64_t copied_ = 0;
};

}  // namespace muster
