/// The parts of muster-bench-gpu: each prints one JSON object a line, and says `ok` where it
/// checks.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "runtime/config/job.h"
#include "runtime/gpu/gpu.h"
#include "runtime/train/trainer.h"

namespace muster::bench {

struct GpuBench {
  std::string model = "mlp";  ///< mlp, cnn, resnet50, gpt
  std::uint64_t batch = 0;    ///< 0: the table's
  std::uint64_t steps = 0;    ///< timed; 0: the table's
  int trials = 16;
  std::string graph = "auto";
  std::string directory = ".";  ///< for checkpoints
  double seconds = 1e9;         ///< after which the memory part begins no other trial
  std::uint64_t start_at = 0;   ///< seconds of Unix time to wait for, warmed up; 0: at once
  bool stand_in = false;        ///< the CPU instead of a card: to try the program, not to measure
  bool small = false;           ///< small sizes, for the same; always on the stand-in
};

/// Jobs of the table, or small ones.
JobSettings job_of(const GpuBench& bench);

/// What trials of one process have in common.
struct SharedSets {
  std::shared_ptr<const DataSets> data;  ///< null: the session's own
  ResidentSets* residents = nullptr;     ///< null: the same
};

/// One rank alone: data, model and trainer, ready to step.
class Session {
 public:
  Session(const JobSettings& job, std::unique_ptr<Gpu> gpu, SharedSets shared = {},
          Communicator* world = nullptr, Communicator* device = nullptr,
          std::function<void(bool)> capturing = {}, StateKeeper* keeper = nullptr);
  ~Session();
  Trainer& trainer();
  Model& model();
  Gpu& gpu();
  const DataSets& data() const;
  /// Seconds that `steps` steps take, queue to end; their losses.
  double time_steps(std::uint64_t steps, std::vector<double>* losses = nullptr);
  std::vector<float> parameters();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

int check_kernels(Gpu& gpu);  ///< those of layers with them
int check_layers(Gpu& gpu);
int check_training(Gpus& gpus, const GpuBench& bench);
int check_ranks(Gpus* gpus, const GpuBench& bench);  ///< started once a rank, as by torchrun
int time_step(Gpus& gpus, const GpuBench& bench);
int time_adamw(Gpus& gpus, const GpuBench& bench);
int time_packed(Gpus& gpus, const GpuBench& bench);
int time_checkpoints(Gpus& gpus, const GpuBench& bench);
int predict_memory(Gpus& gpus, const GpuBench& bench);

}  // namespace muster::bench
