/// StepRunner: forward and backward of one rank's part of a batch, lane by lane, left with the
/// exchange. The local loss is the sum over a lane's own samples divided by the global count, so
/// that the lanes' gradients add up to the batch's mean. A lane without samples brings nothing. One
/// thread.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>

#include "runtime/data/loader.h"
#include "runtime/model/loss.h"
#include "runtime/model/model.h"
#include "runtime/train/arena.h"
#include "runtime/train/exchange.h"

namespace muster {

class StepRunner {
 public:
  struct Options {
    std::uint64_t seed = 0;
    std::uint64_t accumulate = 1;  ///< parts that a lane's samples are computed in
    bool bf16 = false;
    bool seeds_torch =
        false;  ///< foreign models draw from torch's own generator: seed it for each pass
    ChannelReducer* synchronise = nullptr;
    /// After a lane's backward, while its gradients lie in the parameters: samples of the lane.
    std::function<void(std::uint64_t samples)> on_gradients;
    std::int64_t* forward_ns =
        nullptr;  ///< where the time of forward passes is added, if asked for
  };
  StepRunner(Model& model, const Loss& loss, const DataShape& shape, Exchange& exchange,
             const Options& options);

  /// `batch` holds the samples of all lanes of this rank. Random numbers are keyed by (seed, step,
  /// lane, part).
  void run(const HostBatch& batch, std::uint64_t step);
  /// What `batch` is cut into: lane `lane` of all, of the whole batch.
  SampleRange lane_part(SampleRange whole, std::uint64_t lane) const {
    return part_of(whole, lane, exchange_.lanes());
  }
  /// The part of a global batch that this rank computes: its lanes, one after the other.
  SampleRange own_part(SampleRange whole) const;

 private:
  double run_lane(const HostBatch& batch, SampleRange part, std::uint64_t lane, std::uint64_t step,
                  BatchStatistics& statistics);
  double run_part(const at::Tensor& features, const at::Tensor& labels, double whole_count,
                  std::uint64_t key, BatchStatistics& statistics);
  double run_whole_step(WholeStep& step, const at::Tensor& features, const at::Tensor& labels,
                        double whole_count);
  at::Tensor seed_gradient(double value);

  Model& model_;
  Loss loss_;
  DataShape shape_;
  Exchange& exchange_;
  Options options_;
  at::Tensor seed_gradient_;
  double seed_value_ = 0;
};

/// `count` samples at `bytes` as a tensor [count, ...] that borrows them.
at::Tensor feature_tensor(const DataShape& shape, std::span<const std::byte> bytes,
                          std::uint64_t count);
at::Tensor label_tensor(const DataShape& shape, std::span<const std::byte> bytes,
                        std::uint64_t count);

}  // namespace muster
