/// GpuStep: whole training steps of one rank on a GPU: input, forward, backward, exchange, update.
/// Steps are queued and results come later; the host is never more than two blocks ahead. Where
/// shapes allow it, a step (or several, when the data lie on the GPU) is one captured graph.
///
/// Gradients are packed bucket by bucket in the order in which they arrive, and exchanged while
/// backward goes on. A step whose loss or gradient is not finite updates nothing. Collective, as
/// the trainer: every rank makes it and calls it alike.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "runtime/checkpoint/snapshot.h"
#include "runtime/checkpoint/state_tree.h"
#include "runtime/comm/communicator.h"
#include "runtime/gpu/gpu.h"
#include "runtime/model/loss.h"
#include "runtime/model/model.h"
#include "runtime/train/gpu_input.h"
#include "runtime/train/schedule.h"
#include "runtime/train/segments.h"
#include "runtime/train/update.h"

namespace muster {

/// What a trainer needs to work on a GPU.
struct GpuParts {
  Gpu* gpu = nullptr;
  Communicator* device = nullptr;  ///< of the GPUs' memory; null for one rank
  /// Told before and after a capture: the communicator must not look at events meanwhile.
  std::function<void(bool)> capturing;
  ResidentSets* residents = nullptr;  ///< null: the trainer's own
};

enum class GraphMode { automatic, on, off };

class GpuStep {
 public:
  struct Options {
    std::uint64_t seed = 0;
    std::uint64_t batch = 1;
    std::uint64_t accumulate = 1;
    bool drop_last = false;
    int prefetch = 2;
    DType amp = DType::float32;   ///< float32: none
    DType wire = DType::float32;  ///< of gradients between ranks
    bool is_sharded = false;
    std::size_t bucket_bytes = std::size_t{25} << 20;
    OptimizerRule rule;
    ScheduleRule schedule;
    GroupRules groups;
    GraphMode graph = GraphMode::automatic;
    std::uint64_t steps_a_graph = 8;  ///< where data are resident and steps short
    double short_step_seconds = 2e-3;
    bool recomputes = false;
    bool seeds_torch = false;  ///< for models that draw from torch's generator: anew each step
    std::uint32_t crop_padding = 0;
    bool flips = false;
    float loss_scale = 65536;  ///< fp16: where it starts
    std::uint32_t growth_every = 2000;
  };
  /// `remark` hears sentences for people (rank 0's): why no graph is used.
  GpuStep(Model& model, const Dataset& data, const Loss& loss, const GpuParts& parts,
          Communicator& world, const Options& options,
          std::function<void(const std::string&)> remark);
  ~GpuStep();
  GpuStep(const GpuStep&) = delete;
  GpuStep& operator=(const GpuStep&) = delete;

  /// What is known of a step that is over.
  struct Finished {
    std::uint64_t step = 0;  ///< counted from 1
    double loss = 0;
    double norm = 0;
    std::uint64_t samples = 0;
    bool skipped = false;
    float loss_scale = 1;
  };
  struct Wishes {
    bool stop = false;
    bool checkpoint = false;
  };
  struct Outcome {
    Wishes agreed;            ///< any rank's; only between blocks
    bool is_boundary = true;  ///< the GPU's state is that of this step, once its queue is empty
    std::vector<Finished> finished;
  };
  /// One more step is due; `room`: how many may be done, this one included, before the caller must
  /// see the state.
  Outcome step(std::uint64_t room, Wishes own);
  /// Waits for all that is queued.
  std::vector<Finished> drain();

  /// Where the run stands, after the state was made or filled from elsewhere.
  void seek(std::uint64_t step, std::uint64_t updates);
  /// Adds tensors and what else must survive; call drain() and keep() before the tree is read.
  void add_to(StateTree& tree);
  void
  keep();  ///< brings the scaler's state to the host; collective: buffers become the ranks' mean
  Mover& mover();
  /// After the tree was filled.
  void restored();

  /// Forward without gradients, for evaluation: takes features and labels to the GPU, where `look`
  /// sees the outputs and the labels. It runs on scratch memory, and waits for its results.
  void evaluate(
      const at::Tensor& features, const at::Tensor& labels,
      const std::function<void(const at::Tensor& outputs, const at::Tensor& labels)>& look);
  /// Runs `body` with the moving average (where there is one) in the model.
  void with_average(const std::function<void()>& body);
  /// Runs `body` with the model's final tensors on the host.
  void on_host(const std::function<void()>& body);
  std::uint64_t memory_bytes() const;
  /// "graph of 8 steps", "eager (reason)": for the log and benchmarks.
  std::string mode() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace muster
