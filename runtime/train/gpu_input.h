/// GpuInput: brings each step's samples to the same place on the GPU. A set that fits lies there
/// whole, once for all trials of a process (ResidentSets), and a step gathers its rows there; a
/// larger one is read ahead, put into pinned memory and copied while the step before computes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "runtime/data/dataset.h"
#include "runtime/data/loader.h"
#include "runtime/gpu/gpu.h"

namespace muster {

/// A data set in the memory of a GPU.
struct ResidentSet {
  std::shared_ptr<std::byte> features;
  std::shared_ptr<std::byte> labels;
};

/// The sets that lie on the GPUs of this process. Trials that train on one Dataset object share its
/// copy. Thread-safe; a set goes with its last user.
class ResidentSets {
 public:
  std::shared_ptr<const ResidentSet> get(const Dataset& data, Gpu& gpu);
  /// Null where it does not lie there yet.
  std::shared_ptr<const ResidentSet> find(const Dataset& data, const Gpu& gpu);
  /// Of all that are in use; any thread, at once.
  std::uint64_t bytes() const { return *bytes_; }
  static std::uint64_t bytes_of(const Dataset& data);

 private:
  struct Kept {
    std::uint64_t identity = 0;
    int device = 0;
    std::weak_ptr<const ResidentSet> set;
  };
  std::shared_ptr<const ResidentSet> known(const Dataset& data, const Gpu& gpu) const;
  std::mutex mutex_;
  std::vector<Kept> kept_;
  std::shared_ptr<std::atomic<std::uint64_t>> bytes_ =  // sets may outlive this
      std::make_shared<std::atomic<std::uint64_t>>(0);
};

class GpuInput {
 public:
  struct Options {
    std::uint64_t batch = 1;  ///< global
    std::uint64_t seed = 0;
    bool drop_last = false;
    int prefetch = 2;
    std::uint64_t rank = 0;
    std::uint64_t ranks = 1;
    std::uint32_t crop_padding = 0;
    bool flips = false;
  };
  virtual ~GpuInput() = default;
  virtual bool is_resident() const = 0;
  /// The next step is the one at `position`.
  virtual void seek(DataPosition position) = 0;
  /// On the host, before a step is queued: what varies from step to step.
  virtual void prepare(DataPosition position) = 0;
  /// Queues what brings this rank's part of a batch of `whole` samples to features() and labels();
  /// may be captured.
  virtual void load(const StepState* state, std::uint64_t whole) = 0;
  /// Samples [first, first + count) of what is loaded.
  at::Tensor features(std::uint64_t first, std::uint64_t count) const;
  at::Tensor labels(std::uint64_t first, std::uint64_t count) const;

  const BatchPlan& plan() const { return plan_; }
  SampleRange own_part(SampleRange whole) const {
    return part_of(whole, options_.rank, options_.ranks);
  }

 protected:
  GpuInput(const Dataset& data, Gpu& gpu, const Options& options);
  /// Whether images are changed on their way to features().
  bool augments() const;
  /// What brings this rank's part of a batch of `whole` rows to features().
  GatherJob gather_job(const StepState* state, std::uint64_t whole) const;
  const Dataset& data_;
  Gpu& gpu_;
  Options options_;
  BatchPlan plan_;
  std::shared_ptr<std::byte> feature_memory_;
  std::shared_ptr<std::byte> label_memory_;
  at::Tensor features_;
  at::Tensor labels_;
};

/// Whether a set can lie on the GPU: its rows may be taken in any order, and it fits in a quarter
/// of what is free. Each rank asks its own GPU, and all must do alike.
bool may_reside(const Dataset& data, const Gpu& gpu);
std::unique_ptr<GpuInput> resident_input(const Dataset& data, Gpu& gpu, ResidentSets& sets,
                                         const GpuInput::Options& options);
std::unique_ptr<GpuInput> streamed_input(const Dataset& data, Gpu& gpu,
                                         const GpuInput::Options& options);

}  // namespace muster
