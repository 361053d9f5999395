/// StepBoard: what the ranks of a machine tell each other in a step, in shared memory: losses,
/// gradients' places, norms, wishes. Fields written before the step's first barrier are read
/// between its barriers only; those written between the barriers are read until the next step's
/// first. A lane is one stream of gradients: a rank, or in strict mode a logical shard.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "runtime/comm/node_group.h"

namespace muster {

class StepBoard {
 public:
  static constexpr std::int64_t no_gradient = -1;

  struct alignas(64) RankNote {
    // Written before the first barrier.
    std::int64_t busy_ns = 0;  ///< waiting for data and computing, this step
    std::int32_t wants_stop = 0;
    std::int32_t wants_checkpoint = 0;
    // Written between the barriers.
    std::int64_t bad_segment =
        -1;  ///< the first segment whose gradient is not finite, in this rank's shard
  };
  struct Shape {
    std::size_t lanes = 1;
    std::size_t segments = 0;
    std::size_t statistics = 0;  ///< floats of batch normalisation's statistics
    std::size_t sums = 0;        ///< of squares: a rank's, or a block's in strict mode
  };
  StepBoard(NodeGroup& node, const Shape& shape);

  RankNote& note(int local_rank);
  double& loss(std::size_t lane);
  std::span<double> losses();
  /// Bytes into the owner's gradient window, one for each segment, or no_gradient.
  std::span<std::int64_t> places(std::size_t lane);
  std::span<float> statistics(std::size_t lane);
  std::span<double> sums();
  const Shape& shape() const { return shape_; }

 private:
  Shape shape_;
  std::unique_ptr<SharedMemory> memory_;
  RankNote* notes_ = nullptr;
  double* losses_ = nullptr;
  std::int64_t* places_ = nullptr;
  double* sums_ = nullptr;
  float* statistics_ = nullptr;
};

}  // namespace muster
