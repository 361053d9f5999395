/// Jobs on the stand-in for a GPU or on the CPU, by threads for ranks, and what came of them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "collectives/node/node_communicator.h"
#include "runtime/gpu/host_gpu.h"
#include "runtime/train/gradient_pool.h"
#include "runtime/train/trainer.h"
#include "tests/support/listener.h"
#include "tests/support/ranks.h"

namespace muster::test {

inline JobSettings mlp_job() {
  JobSettings job;
  job.model.hidden = "24";
  job.data.format = "synthetic";
  job.data.shape = "20";
  job.data.classes = 5;
  job.data.rows = 200;
  job.optimizer.lr = 0.05;
  job.optimizer.momentum = 0.9;
  job.train.seed = 7;
  job.train.batch_size = 32;  // the last batch of an epoch has 8
  job.train.epochs = 100;
  job.train.graph_steps = 1;
  return job;
}

/// With too little memory for its set.
inline JobSettings large_set_job() {
  JobSettings job = mlp_job();
  job.data.rows = 4000;
  return job;
}

inline constexpr std::uint64_t little_memory = 1000000;

inline JobSettings gpt_job() {
  JobSettings job = mlp_job();
  job.model.kind = "gpt";
  job.model.embedding = 32;
  job.model.heads = 2;
  job.model.depth = 2;
  job.data.task = "tokens";
  job.data.context = 12;
  job.data.vocabulary = 50;
  job.data.rows = 24;
  job.train.batch_size = 8;
  job.optimizer.kind = "adamw";
  job.optimizer.lr = 1e-3;
  job.optimizer.weight_decay = 0.1;
  job.optimizer.momentum = 0;
  return job;
}

struct Trained {
  std::vector<float> parameters;
  std::vector<float> buffers;
  std::vector<TrainReport> reports;
  std::vector<std::string> remarks;
  std::string mode;
  double loss(std::size_t epoch) const { return reports.at(epoch).values.at(0).second; }
  double value(std::size_t epoch, std::string_view name) const {
    for (const auto& [known, value] : reports.at(epoch).values) {
      if (known == name) {
        return value;
      }
    }
    return std::numeric_limits<double>::quiet_NaN();
  }
  /// The last report's figures of the validation set.
  std::vector<std::pair<std::string, double>> figures() const {
    auto values = reports.back().values;
    std::erase_if(values, [](const auto& value) { return !value.first.starts_with("val_"); });
    return values;
  }
};

inline std::vector<float> values_of(const std::vector<NamedTensor>& tensors) {
  std::vector<float> all;
  for (const NamedTensor& each : tensors) {
    const at::Tensor dense = each.tensor.detach().to(at::kFloat).contiguous();
    const auto* values = dense.const_data_ptr<float>();
    all.insert(all.end(), values, values + dense.numel());
  }
  return all;
}

inline std::vector<float> parameters_of(Trainer& trainer, const Model& model) {
  std::vector<float> all;
  trainer.with_final_parameters([&] { all = values_of(model.parameters()); });
  return all;
}

/// One rank's run, on the stand-in or on the CPU.
inline Trained run_rank(JobSettings job, LocalGroup& group, bool on_gpu, int epochs,
                        const HostGpuOptions& options) {
  at::set_num_threads(1);
  job.train.epochs = epochs;
  NodeCommunicator world(group);
  const auto across = solo_communicator();
  const DataSets data = open_data(job.data, group);
  const auto model = make_model(job.model, data.train->shape(), job.train.seed);
  Listener listener;
  const auto gpu = host_gpu(options);
  TrainerParts parts{.model = *model,
                     .train = *data.train,
                     .validation = data.validation.get(),
                     .ranks = {group, *across, world}};
  if (on_gpu) {
    parts.gpu.gpu = gpu.get();
    parts.gpu.device = world.size() > 1 ? &world : nullptr;
  }
  Trainer trainer(job, parts, listener);
  trainer.run();
  Trained result{
      .reports = listener.reports, .remarks = listener.remarks, .mode = trainer.gpu_mode()};
  trainer.with_final_parameters([&] {
    result.parameters = values_of(model->parameters());
    result.buffers = values_of(model->buffers());
  });
  group.barrier();
  return result;
}

inline Trained run(const JobSettings& job, int ranks, bool on_gpu, int epochs = 3,
                   const HostGpuOptions& options = {}) {
  GradientPool::install();
  std::vector<Trained> all(static_cast<std::size_t>(ranks));
  const auto endings = run_threads(ranks, [&](LocalGroup& group) {
    all[static_cast<std::size_t>(group.rank())] = run_rank(job, group, on_gpu, epochs, options);
  });
  for (const auto& ending : endings) {
    EXPECT_EQ(ending, "");
  }
  for (const Trained& other : all) {
    EXPECT_EQ(other.parameters, all[0].parameters) << "ranks agree to the bit";
  }
  return all[0];
}

inline double furthest(const Trained& a, const Trained& b) {
  EXPECT_EQ(a.parameters.size(), b.parameters.size());
  double most = 0;
  for (std::size_t i = 0; i < std::min(a.parameters.size(), b.parameters.size()); ++i) {
    most = std::max(most, std::abs(static_cast<double>(a.parameters[i]) - b.parameters[i]));
  }
  return most;
}

}  // namespace muster::test
