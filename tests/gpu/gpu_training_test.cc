// SPDX-License-Identifier: Apache-2.0
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/script.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "collectives/node/node_communicator.h"
#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/gpu/host_gpu.h"
#include "runtime/train/gpu_mover.h"
#include "runtime/train/gradient_pool.h"
#include "runtime/train/plan.h"
#include "runtime/train/trainer.h"
#include "tests/data/data_files.h"
#include "tests/support/ranks.h"

namespace muster::test {
namespace {

using testing::Contains;
using testing::HasSubstr;

JobSettings mlp_job() {
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
JobSettings large_set_job() {
  JobSettings job = mlp_job();
  job.data.rows = 4000;
  return job;
}
constexpr std::uint64_t little_memory = 1000000;

JobSettings gpt_job() {
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

class Listener final : public TrainObserver {
 public:
  Verdict on_report(const TrainReport& report) override {
    reports.push_back(report);
    return Verdict::go_on;
  }
  void on_remark(const std::string& text) override { remarks.push_back(text); }
  void on_progress(const TrainReport& /*report*/) override {}
  std::vector<TrainReport> reports;
  std::vector<std::string> remarks;
};

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

std::vector<float> values_of(const std::vector<NamedTensor>& tensors) {
  std::vector<float> all;
  for (const NamedTensor& each : tensors) {
    const at::Tensor dense = each.tensor.detach().to(at::kFloat).contiguous();
    const auto* values = dense.const_data_ptr<float>();
    all.insert(all.end(), values, values + dense.numel());
  }
  return all;
}

std::vector<float> parameters_of(Trainer& trainer, const Model& model) {
  std::vector<float> all;
  trainer.with_final_parameters([&] { all = values_of(model.parameters()); });
  return all;
}

/// One rank's run, on the stand-in or on the CPU.
Trained run_rank(JobSettings job, LocalGroup& group, bool on_gpu, int epochs,
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

Trained run(const JobSettings& job, int ranks, bool on_gpu, int epochs = 3,
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

bool is_number(float value) {
  return std::isfinite(value);
}

double furthest(const Trained& a, const Trained& b) {
  EXPECT_EQ(a.parameters.size(), b.parameters.size());
  double most = 0;
  for (std::size_t i = 0; i < std::min(a.parameters.size(), b.parameters.size()); ++i) {
    most = std::max(most, std::abs(static_cast<double>(a.parameters[i]) - b.parameters[i]));
  }
  return most;
}

TEST(GpuTraining, IsTheCpusWithAnotherEngine) {
  for (const std::string kind : {"sgd", "adam", "adamw"}) {
    JobSettings job = mlp_job();
    job.optimizer.kind = kind;
    job.optimizer.lr = kind == "sgd" ? 0.05 : 1e-3;
    job.optimizer.clip = 0.5;
    job.optimizer.weight_decay = 0.01;
    job.optimizer.no_decay = {"bias"};
    const Trained cpu = run(job, 1, false);
    const Trained gpu = run(job, 1, true);
    EXPECT_LT(furthest(cpu, gpu), 3e-5) << kind;
    for (std::size_t epoch = 0; epoch < 3; ++epoch) {
      EXPECT_NEAR(cpu.loss(epoch), gpu.loss(epoch), 1e-5 * cpu.loss(epoch)) << kind;
    }
    EXPECT_GT(gpu.loss(0), gpu.loss(2)) << "it learns";
  }
}

TEST(GpuTraining, SeveralRanksTrainAsOne) {
  JobSettings job = mlp_job();
  job.train.bucket_mb = 0.001;  // several buckets
  const Trained one = run(job, 1, true);
  for (const int ranks : {2, 3, 4}) {
    const Trained several = run(job, ranks, true);
    EXPECT_LT(furthest(one, several), 1e-5) << ranks;
    EXPECT_NEAR(one.loss(2), several.loss(2), 1e-5 * one.loss(2));
  }
}

TEST(GpuTraining, ShardedOptimiserEqualsThePlainOne) {
  for (const std::string kind : {"sgd", "adamw"}) {
    JobSettings job = mlp_job();
    job.optimizer.kind = kind;
    job.optimizer.lr = 1e-3;
    job.optimizer.clip = 0.5;
    job.train.bucket_mb = 0.001;
    const Trained plain = run(job, 3, true);
    job.train.shard_optimizer = true;
    const Trained sharded = run(job, 3, true);
    EXPECT_LT(furthest(plain, sharded), 1e-6) << kind;
  }
}

TEST(GpuTraining, GraphEqualsEagerToTheBit) {
  JobSettings job = mlp_job();
  job.model.dropout = 0.2;
  job.train.graph = "off";
  const Trained eager = run(job, 1, true);
  job.train.graph = "on";
  const Trained graph = run(job, 1, true);
  EXPECT_EQ(eager.parameters, graph.parameters);
  EXPECT_THAT(eager.mode, HasSubstr("off"));
  EXPECT_THAT(graph.mode, HasSubstr("graph of one step"));
}

/// Whether steps are short is known after 64 of them.
TEST(GpuTraining, AGraphOfSeveralStepsEqualsSingleOnes) {
  JobSettings job = mlp_job();
  job.model.dropout = 0.2;
  job.train.short_ms = 1e6;
  for (const int ranks : {1, 2}) {
    job.train.graph_steps = 1;
    const Trained single = run(job, ranks, true, 14);
    job.train.graph_steps = 3;
    const Trained blocks = run(job, ranks, true, 14);
    EXPECT_EQ(blocks.mode, "graph of 3 steps");
    EXPECT_EQ(single.parameters, blocks.parameters);
    ASSERT_EQ(blocks.reports.size(), 14U);
    EXPECT_EQ(blocks.loss(13), single.loss(13));
  }
  job.train.short_ms = 0;
  EXPECT_EQ(run(job, 1, true, 14).mode, "graph of one step");
  job.train.short_ms = 1e6;
  job.train.graph_steps = 128;  // the most
  job.train.batch_size = 1;
  EXPECT_EQ(run(job, 1, true, 2).mode, "graph of 128 steps");
}

TEST(GpuTraining, SaysOnceWhyThereIsNoGraph) {
  JobSettings job = mlp_job();
  const Trained trained =
      run(job, 1, true, 3, {.no_graphs = "operation not permitted when stream is capturing"});
  EXPECT_THAT(trained.remarks,
              testing::ElementsAre("steps run without a CUDA graph: operation not permitted when "
                                   "stream is capturing"));
  job.train.graph = "on";
  GradientPool::install();
  const auto endings = run_threads(
      1, [&](LocalGroup& group) { run_rank(job, group, true, 3, {.no_graphs = "a sync"}); });
  EXPECT_THAT(endings[0], HasSubstr("train.graph = on, but the step cannot be captured: a sync"));
}

/// One rank that queues its steps beside others that play graphs would meet them in another order.
TEST(GpuTraining, AllRanksPlayGraphsOrNone) {
  GradientPool::install();
  JobSettings job = mlp_job();
  job.train.graph_steps = 3;
  for (const bool one_cannot : {false, true}) {
    std::array<std::vector<std::string>, 2> traces;
    std::array<Trained, 2> trained;
    const auto endings = run_threads(2, [&](LocalGroup& group) {
      const auto rank = static_cast<std::size_t>(group.rank());
      const HostGpuOptions options{.no_graphs = one_cannot && rank == 1 ? "no room" : "",
                                   .trace = &traces.at(rank)};
      trained.at(rank) = run_rank(job, group, true, 2, options);
    });
    EXPECT_THAT(endings, testing::Each(""));
    EXPECT_EQ(trained[0].parameters, trained[1].parameters);
    for (const auto& trace : traces) {
      EXPECT_EQ(std::ranges::count(trace, "replay") == 0, one_cannot);
    }
    EXPECT_THAT(trained[0].mode,
                HasSubstr(one_cannot ? "eager (another rank cannot capture it)" : "graph"));
  }
}

TEST(GpuTraining, CopiedAheadEqualsResident) {
  const JobSettings job = large_set_job();
  std::vector<std::string> trace;
  const Trained resident = run(job, 1, true, 1, {.trace = &trace});
  EXPECT_THAT(trace, Contains("order")) << "of rows that are resident";
  trace.clear();
  const Trained streamed = run(job, 1, true, 1, {.memory = little_memory, .trace = &trace});
  EXPECT_THAT(trace, testing::Not(Contains("order")));
  EXPECT_EQ(resident.parameters, streamed.parameters);
  EXPECT_EQ(run(job, 2, true, 1).parameters,
            run(job, 2, true, 1, {.memory = little_memory}).parameters);
}

/// Who has it resident plays graphs of several steps, which the others would not.
TEST(GpuTraining, TheSetIsResidentOnAllRanksOrOnNone) {
  GradientPool::install();
  JobSettings job = large_set_job();
  job.train.graph_steps = 3;
  job.train.short_ms = 1e6;
  std::array<std::vector<std::string>, 2> traces;
  std::array<Trained, 2> trained;
  const auto endings = run_threads(2, [&](LocalGroup& group) {
    const auto rank = static_cast<std::size_t>(group.rank());
    HostGpuOptions options{.trace = &traces.at(rank)};
    if (rank == 1) {
      options.memory = little_memory;
    }
    trained.at(rank) = run_rank(job, group, true, 1, options);
  });
  EXPECT_THAT(endings, testing::Each(""));
  for (const auto& trace : traces) {
    EXPECT_THAT(trace, testing::Not(Contains("order")));
  }
  EXPECT_EQ(trained[0].mode, "graph of one step");
  EXPECT_EQ(trained[0].parameters, trained[1].parameters);
}

TEST(GpuTraining, ABatchThatIsSmallerThanTheRanksAreMany) {
  JobSettings resnet = mlp_job();
  resnet.model.kind = "resnet18";
  resnet.model.width = 4;
  resnet.data.shape = "3 16 16";
  resnet.optimizer.lr = 1e-3;
  for (JobSettings job : {mlp_job(), gpt_job(), resnet}) {
    job.data.rows = 12;
    job.data.validation_rows = 12;
    job.train.batch_size = 2;
    const Trained cpu = run(job, 3, false);
    const Trained gpu = run(job, 3, true);
    EXPECT_LT(furthest(cpu, gpu), 2e-4) << job.model.kind;
    EXPECT_NEAR(cpu.loss(2), gpu.loss(2), 1e-4 * cpu.loss(2)) << job.model.kind;
    EXPECT_NEAR(cpu.value(2, "val_loss"), gpu.value(2, "val_loss"), 2e-4)
        << job.model.kind << ": whose statistics are those of the ranks that have samples";
  }
  JobSettings job = large_set_job();
  job.train.batch_size = 2;
  job.train.steps = 6;
  EXPECT_EQ(run(job, 3, true).parameters,
            run(job, 3, true, 3, {.memory = little_memory}).parameters)
      << "copied ahead";
}

TEST(GpuTraining, AccumulationEqualsTheWholeBatch) {
  JobSettings job = mlp_job();
  const Trained whole = run(job, 2, true);
  job.train.accumulate = 3;
  const Trained parts = run(job, 2, true);
  EXPECT_LT(furthest(whole, parts), 1e-5);
}

/// In passes of what a rank computes at once, on the card: they are the CPU's, which takes a batch
/// at a time.
TEST(GpuTraining, FiguresDependOnNeitherRanksNorAccumulation) {
  const auto expect_equal = [](const JobSettings& job, double within) {
    const auto cpu = run(job, 1, false).figures();
    ASSERT_GT(cpu.size(), 1U);
    for (const auto& [ranks, accumulate] : {std::pair(1, 1), std::pair(1, 5), std::pair(3, 2)}) {
      JobSettings cut = job;
      cut.train.accumulate = accumulate;
      const auto gpu = run(cut, ranks, true).figures();
      ASSERT_EQ(gpu.size(), cpu.size());
      for (std::size_t i = 0; i < cpu.size(); ++i) {
        EXPECT_EQ(gpu[i].first, cpu[i].first);
        EXPECT_NEAR(gpu[i].second, cpu[i].second, within * cpu[i].second) << cpu[i].first;
      }
    }
  };
  JobSettings classes = mlp_job();
  classes.data.validation_rows = 77;
  classes.train.metric = {"accuracy", "top5", "perplexity"};
  expect_equal(classes, 1e-5);
  JobSettings values = mlp_job();
  values.data.task = "values";
  values.data.validation_rows = 77;
  values.train.metric = {"mae", "auc"};
  expect_equal(values, 1e-4);
  JobSettings tokens = gpt_job();
  tokens.data.validation_rows = 9;
  tokens.train.metric = {"accuracy", "perplexity"};
  expect_equal(tokens, 1e-3);
}

/// 12 positions a sample of which each is 800 kB: pieces end in the midst of samples.
TEST(GpuTraining, WideOutputsAreJudgedInPieces) {
  JobSettings job = gpt_job();
  job.data.vocabulary = 200000;
  job.data.rows = 8;
  job.data.validation_rows = 8;
  job.model.embedding = 8;
  job.model.depth = 1;
  job.optimizer.kind = "sgd";
  const auto cpu = run(job, 1, false, 1).figures();
  const auto gpu = run(job, 1, true, 1).figures();
  ASSERT_EQ(gpu.size(), 2U);
  for (std::size_t i = 0; i < gpu.size(); ++i) {
    EXPECT_NEAR(gpu[i].second, cpu[i].second, 1e-4 * cpu[i].second) << cpu[i].first;
  }
}

TEST(GpuTraining, LowPrecisionFollowsFloat32) {
  JobSettings job = mlp_job();
  job.train.wire = "bf16";
  const Trained exact = run(mlp_job(), 2, true);
  EXPECT_LT(furthest(exact, run(job, 2, true)), 2e-2) << "bf16 on the wire";
  job.train.wire = "float32";
  job.train.amp = "bf16";
  EXPECT_LT(furthest(exact, run(job, 2, true)), 5e-2) << "bf16 work";
}

TEST(GpuTraining, Fp16FindsItsScaleAndTrains) {
  JobSettings job = mlp_job();
  job.train.amp = "fp16";
  job.train.wire = "fp16";
  const Trained exact = run(mlp_job(), 2, true);
  const Trained half = run(job, 2, true);
  EXPECT_THAT(half.remarks, testing::IsEmpty()) << "steps skipped for the scale are no remark";
  EXPECT_NEAR(half.loss(2), exact.loss(2), 0.1 * exact.loss(2));
}

TEST(GpuTraining, LeavesOutAStepThatIsNotFinite) {
  JobSettings job = mlp_job();
  job.optimizer.lr = 1e30;
  job.train.on_nan = "skip";
  const Trained trained = run(job, 1, true);
  EXPECT_THAT(trained.remarks, Contains(HasSubstr("is left out (train.on_nan = skip)")));
  job.train.on_nan = "stop";
  GradientPool::install();
  const auto endings =
      run_threads(1, [&](LocalGroup& group) { run_rank(job, group, true, 3, {}); });
  EXPECT_THAT(endings[0], HasSubstr("is not finite"));
}

TEST(GpuTraining, RefusesWhatGpusDoNotDo) {
  JobSettings job = mlp_job();
  job.train.strict = true;
  const auto endings =
      run_threads(1, [&](LocalGroup& group) { run_rank(job, group, true, 1, {}); });
  EXPECT_THAT(endings[0], HasSubstr("train.strict is not there on GPUs"));
}

TEST(GpuTraining, TheCpuRefusesWhatOnlyGpusDo) {
  for (const bool flips : {true, false}) {
    JobSettings job = mlp_job();
    job.train.flip = flips;
    job.train.amp = flips ? "none" : "fp16";
    const auto endings =
        run_threads(1, [&](LocalGroup& group) { run_rank(job, group, false, 1, {}); });
    EXPECT_THAT(endings[0], HasSubstr("is for GPUs, and this runs on the CPU"));
  }
}

TEST(GpuTraining, FusedGptEqualsThePlainOne) {
  const JobSettings job = gpt_job();
  const Trained cpu = run(job, 1, false);
  const Trained gpu = run(job, 1, true);
  EXPECT_LT(furthest(cpu, gpu), 2e-4);
  EXPECT_NEAR(cpu.loss(2), gpu.loss(2), 1e-4 * cpu.loss(2));
}

TEST(GpuTraining, RecomputedActivationsChangeNothing) {
  JobSettings job = gpt_job();
  job.model.dropout = 0.1;
  const Trained kept = run(job, 2, true);
  job.train.recompute = true;
  EXPECT_LT(furthest(kept, run(job, 2, true)), 2e-5);
}

/// Nothing before the first block, nor in it, wants a gradient.
TEST(GpuTraining, RecomputedBlocksTrainBehindFrozenOnes) {
  JobSettings job = gpt_job();
  job.model.freeze = {"wte", "wpe"};
  for (const std::string more : {"wte", "h.0"}) {
    job.model.freeze.push_back(more);
    job.train.recompute = false;
    const Trained kept = run(job, 1, true);
    EXPECT_GT(kept.loss(0), kept.loss(2)) << "it learns";
    job.train.recompute = true;
    EXPECT_LT(furthest(kept, run(job, 1, true)), 2e-5) << more;
  }
}

TEST(GpuTraining, ACnnLearnsTheSameInEitherOrderOfItsImages) {
  JobSettings job = mlp_job();
  job.model.kind = "cnn";
  job.model.width = 4;
  job.data.shape = "3 8 8";
  job.data.rows = 96;
  const Trained cpu = run(job, 1, false);
  const Trained gpu = run(job, 1, true);
  EXPECT_LT(furthest(cpu, gpu), 2e-4);
  job.model.channels_last = true;
  EXPECT_LT(furthest(cpu, run(job, 1, true)), 2e-4);
  EXPECT_LT(furthest(cpu, run(job, 2, true)), 2e-4);
}

class SkippedStep : public DataFiles {
 protected:
  /// Five batches an epoch, of which one has an image that overflows.
  JobSettings job() {
    std::vector<float> pixels(std::size_t{40} * 3 * 8 * 8);
    for (std::size_t i = 0; i < pixels.size(); ++i) {
      pixels[i] = static_cast<float>(i * 7919 % 101) / 101;
    }
    std::fill_n(pixels.begin(), 3 * 8 * 8, 3e38F);
    std::vector<std::int64_t> labels(40);
    for (std::size_t i = 0; i < labels.size(); ++i) {
      labels[i] = static_cast<std::int64_t>(i % 4);
    }
    const auto bytes = [](const auto& values) {
      return std::string(reinterpret_cast<const char*>(values.data()),
                         values.size() * sizeof values[0]);
    };
    JobSettings job = mlp_job();
    job.data = {};
    job.data.format = "npy";
    job.data.path = write("images.npy", npy("<f4", "40, 3, 8, 8", bytes(pixels)));
    job.data.labels = write("labels.npy", npy("<i8", "40,", bytes(labels)));
    job.model = {};
    job.model.kind = "resnet18";
    job.model.width = 8;
    job.model.channels_last = true;
    job.optimizer.lr = 1e-3;  // differences of the last digit do not grow
    job.optimizer.momentum = 0;
    job.train.batch_size = 8;
    job.train.on_nan = "skip";
    return job;
  }
};

TEST_F(SkippedStep, MovesNoRunningStatistics) {
  JobSettings skipping = job();
  for (const bool is_last : {true, false}) {  // by our own kernels, and by torch's
    skipping.model.channels_last = is_last;
    const Trained cpu = run(skipping, 1, false);
    const Trained gpu = run(skipping, 1, true);
    EXPECT_THAT(gpu.remarks, Contains(HasSubstr("is left out (train.on_nan = skip)")));
    ASSERT_EQ(gpu.buffers.size(), cpu.buffers.size());
    for (std::size_t i = 0; i < cpu.buffers.size(); ++i) {
      EXPECT_NEAR(gpu.buffers[i], cpu.buffers[i], 1e-3 * (1 + std::abs(cpu.buffers[i]))) << i;
    }
  }
  skipping.train.accumulate = 2;
  EXPECT_THAT(run(skipping, 2, true).buffers, testing::Each(testing::Truly(is_number)));
}

/// Whether steps are short is known after 64 of them.
TEST_F(SkippedStep, MovesNothingInAGraphOfSeveral) {
  JobSettings skipping = job();
  skipping.train.short_ms = 1e6;
  const Trained single = run(skipping, 1, true, 18);
  skipping.train.graph_steps = 3;
  const Trained blocks = run(skipping, 1, true, 18);
  EXPECT_EQ(blocks.mode, "graph of 3 steps");
  EXPECT_THAT(blocks.buffers, testing::Each(testing::Truly(is_number)));
  EXPECT_EQ(single.buffers, blocks.buffers);
}

/// It counts its passes, as PyTorch's batch norm does, in a number of another type. Opening it was
/// one.
TEST_F(SkippedStep, LeavesTheBuffersOfAScriptAlone) {
  torch::jit::Module module("model");
  module.register_parameter("weight", at::ones({4, 192}) * 0.01, false);
  module.register_buffer("odd", at::zeros({3}, at::kBool));
  module.register_buffer("mean", at::zeros({3}));
  module.register_buffer("variance", at::ones({3}));
  module.register_buffer("passes", at::zeros({}, at::kLong));
  module.define(
      "def forward(self, x):\n"
      "    self.passes.add_(1)\n"
      "    y = torch.batch_norm(x, None, None, self.mean, self.variance, True, 0.1, 1e-5, False)\n"
      "    return torch.linear(torch.flatten(x + y, 1), self.weight)\n");
  JobSettings skipping = job();
  skipping.model.kind = "torchscript";
  skipping.model.file = (root_ / "model.pt").string();
  module.save(skipping.model.file);
  for (const bool on_gpu : {false, true}) {
    const auto buffers = run(skipping, 1, on_gpu).buffers;
    EXPECT_THAT(buffers, testing::Each(testing::Truly(is_number))) << on_gpu;
    EXPECT_EQ(buffers.back(), 1 + 3 * 4) << on_gpu;
  }
}

/// Keeps the state of one step, as a checkpoint does: later, while training goes on.
class Keeper final : public StateKeeper {
 public:
  Keeper(Trainer*& trainer, std::uint64_t step) : trainer_(trainer), step_(step) {}
  bool due(std::uint64_t step) override { return step == step_; }
  void save(const StateTree& tree, std::uint64_t step, std::optional<double> /*score*/) override {
    kept = std::make_unique<Snapshot>(Plan::make(tree));
    there = kept->begin(tree, trainer_->checkpoint_info(), trainer_->mover());
    at = step;
  }
  std::unique_ptr<Snapshot> kept;
  std::function<void()> there;
  std::uint64_t at = 0;

 private:
  Trainer*& trainer_;
  std::uint64_t step_;
};

TEST(GpuTraining, ContinuesFromACheckpointThatWasTakenUnderWay) {
  at::set_num_threads(1);
  for (const std::string amp : {"none", "fp16"}) {
    JobSettings job = mlp_job();
    job.train.amp = amp;
    job.train.epochs = 4;
    const auto solo = solo_node_group();
    const auto world = solo_communicator();
    const auto across = solo_communicator();
    const DataSets data = open_data(job.data, *solo);
    Listener listener;
    const auto gpu = host_gpu();
    const auto parts = [&](Model& model, StateKeeper* keeper) {
      return TrainerParts{.model = model,
                          .train = *data.train,
                          .ranks = {*solo, *across, *world},
                          .keeper = keeper,
                          .gpu = {.gpu = gpu.get()}};
    };
    Trainer* running = nullptr;
    Keeper keeper(running, 10);
    const auto model = make_model(job.model, data.train->shape(), 7);
    Trainer whole(job, parts(*model, &keeper), listener);
    running = &whole;
    whole.run();
    ASSERT_EQ(keeper.at, 10U);
    keeper.there();  // only now: the copies were made as late as they may be

    const auto again = make_model(job.model, data.train->shape(), 8);
    Trainer resumed(job, parts(*again, nullptr), listener);
    keeper.kept->restore(resumed.state(), resumed.mover());
    resumed.restored();
    EXPECT_EQ(resumed.step(), 10U);
    resumed.run();
    EXPECT_EQ(parameters_of(whole, *model), parameters_of(resumed, *again)) << amp;
  }
}

/// Asks for a checkpoint in the middle of a block.
class Asker final : public StateKeeper {
 public:
  bool due(std::uint64_t step) override {
    if (step == 100) {
      ++control.checkpoint_hint;
    }
    return false;
  }
  void save(const StateTree& /*tree*/, std::uint64_t step,
            std::optional<double> /*score*/) override {
    saved.push_back(step);
  }
  ControlHeader control;
  std::vector<std::uint64_t> saved;
};

/// Steps of a block hear of it one after the other.
TEST(GpuTraining, WhoAsksForACheckpointGetsOne) {
  at::set_num_threads(1);
  JobSettings job = mlp_job();
  job.data.rows = 64 * 32;
  job.train.epochs = 4;
  job.train.short_ms = 1e6;
  for (const int steps : {1, 5}) {
    job.train.graph_steps = steps;
    const auto solo = solo_node_group();
    const auto world = solo_communicator();
    const auto across = solo_communicator();
    const DataSets data = open_data(job.data, *solo);
    const auto model = make_model(job.model, data.train->shape(), 7);
    Listener listener;
    const auto gpu = host_gpu();
    Asker asker;
    Trainer trainer(job,
                    {.model = *model,
                     .train = *data.train,
                     .ranks = {*solo, *across, *world},
                     .control = &asker.control,
                     .keeper = &asker,
                     .gpu = {.gpu = gpu.get()}},
                    listener);
    trainer.run();
    EXPECT_EQ(trainer.gpu_mode(),
              steps == 1 ? "graph of one step" : fmt::format("graph of {} steps", steps));
    EXPECT_THAT(asker.saved, testing::SizeIs(1)) << steps;
  }
}

/// Few rates lie on the GPU: those of steps far off, across pieces, and of steps before.
TEST(GpuTraining, EachStepHasItsRateHoweverLongTheRun) {
  const auto solo = solo_node_group();
  const auto world = solo_communicator();
  const DataSets data = open_data(mlp_job().data, *solo);
  const auto gpu = host_gpu();
  for (const std::uint64_t start :
       {std::uint64_t{2}, std::uint64_t{4093}, std::uint64_t{1} << 33}) {
    const auto model = make_model(mlp_job().model, data.train->shape(), 7);
    GpuStep step(*model, *data.train, Loss{}, {.gpu = gpu.get()}, *world,
                 {.batch = 32,
                  .schedule = {.kind = ScheduleRule::Kind::step, .every = start + 4, .factor = 0}},
                 [](const std::string& text) { FAIL() << text; });
    const auto parameters = [&] {
      std::vector<float> all;
      step.on_host([&] {
        const at::Tensor first = model->parameters().front().tensor.detach().contiguous();
        const auto* values = first.const_data_ptr<float>();
        all.assign(values, values + first.numel());
      });
      return all;
    };
    for (const std::uint64_t from : {start, start, std::uint64_t{0}}) {
      step.seek(from, from);
      for (std::uint64_t at = from; at < from + 8; ++at) {
        const std::vector<float> before = parameters();
        step.step(1, {});
        step.drain();
        EXPECT_EQ(parameters() != before, at < start + 4) << "step " << at;
      }
    }
  }
}

/// The second of two that are under way at once finds none, and is copied at once.
TEST(GpuMover, DoesWithoutPinnedMemory) {
  std::vector<std::string> lines;
  log::set_sink([&](log::Level /*level*/, std::string_view line) { lines.emplace_back(line); });
  std::vector<std::string> trace;
  const auto gpu = host_gpu({.pinned = 150, .trace = &trace});
  std::vector<std::byte> state(100);
  GpuMover mover(*gpu);
  std::array<std::vector<std::byte>, 4> images;
  std::array<std::function<void()>, 4> there;
  for (std::size_t save = 0; save < images.size(); ++save) {
    images.at(save).resize(state.size());
    std::ranges::fill(state, static_cast<std::byte>(save + 1));
    mover.out(images.at(save), {}, state);
    there.at(save) = mover.finish_later();
    if (save % 2 == 0) {
      continue;
    }
    std::ranges::fill(state, std::byte{});
    for (const std::size_t due : {save - 1, save}) {
      std::exchange(there.at(due), {})();
      EXPECT_THAT(images.at(due), testing::Each(static_cast<std::byte>(due + 1)));
    }
  }
  log::set_sink({});
  EXPECT_THAT(lines, testing::ElementsAre(HasSubstr("the host has no pinned memory")));
  EXPECT_EQ(std::ranges::count(trace, "record copy"), 2) << "the first of each two is staged";
}

/// A worker tells by these words that a trial did not fit, which is no failure of it.
TEST(GpuTraining, SaysOutOfMemoryInTheWordsThatWorkersKnow) {
  GradientPool::install();
  const auto endings = run_threads(
      1, [&](LocalGroup& group) { run_rank(mlp_job(), group, true, 1, {.memory = 1000}); });
  EXPECT_THAT(endings[0], HasSubstr("out of memory"));
}

TEST(GpuTraining, TrialsThatTakeEqualMemoryAreOfAKind) {
  const auto kind_of = [](const JobSettings& job) {
    const DataShape shape{.features = {20}, .classes = 5};
    return memory_kind(job, *make_model(job.model, shape, 1));
  };
  JobSettings job = mlp_job();
  const std::string kind = kind_of(job);
  job.optimizer.lr *= 10;
  job.optimizer.momentum = 0.5;
  job.train.seed = 8;
  EXPECT_EQ(kind_of(job), kind);
  const auto differs = [&](auto change) {
    JobSettings other = mlp_job();
    change(other);
    return kind_of(other) != kind;
  };
  EXPECT_TRUE(differs([](JobSettings& other) { other.optimizer.momentum = 0; }));
  EXPECT_TRUE(differs([](JobSettings& other) { other.optimizer.kind = "adamw"; }));
  EXPECT_TRUE(differs([](JobSettings& other) { other.model.hidden = "25"; }));
  EXPECT_TRUE(differs([](JobSettings& other) { other.train.batch_size = 64; }));
  EXPECT_TRUE(differs([](JobSettings& other) { other.train.accumulate = 2; }));
  EXPECT_TRUE(differs([](JobSettings& other) { other.train.amp = "bf16"; }));
}

TEST(GpuTraining, SeveralTrialsShareOneCopyOfTheSet) {
  const JobSettings job = mlp_job();
  const auto solo = solo_node_group();
  const DataSets data = open_data(job.data, *solo);
  const auto gpu = host_gpu();
  ResidentSets sets;
  const auto first = sets.get(*data.train, *gpu);
  const auto second = sets.get(*data.train, *gpu);
  EXPECT_EQ(first, second);
  EXPECT_EQ(gpu->lane_bytes(), 0U) << "what all trials use is not what one of them takes";
}

/// With it on the GPU, less is free than it would need.
TEST(GpuTraining, ATrialUsesTheSetThatLiesThereHoweverLittleIsFree) {
  const JobSettings job = large_set_job();
  const auto solo = solo_node_group();
  const auto world = solo_communicator();
  const DataSets data = open_data(job.data, *solo);
  std::vector<std::string> trace;
  const auto gpu =
      host_gpu({.memory = 9 * ResidentSets::bytes_of(*data.train) / 2, .trace = &trace});
  ASSERT_TRUE(may_reside(*data.train, *gpu));
  ResidentSets sets;
  const auto first = sets.get(*data.train, *gpu);
  ASSERT_FALSE(may_reside(*data.train, *gpu));
  const auto model = make_model(job.model, data.train->shape(), 7);
  GpuStep step(*model, *data.train, Loss{}, {.gpu = gpu.get(), .residents = &sets}, *world,
               {.batch = 32}, [](const std::string& text) { FAIL() << text; });
  step.seek(0, 0);
  step.step(1, {});
  step.drain();
  EXPECT_THAT(trace, Contains("order"));
}

std::vector<float> features_of(const Dataset& data) {
  std::vector<std::uint64_t> rows(data.rows());
  std::iota(rows.begin(), rows.end(), 0);
  std::vector<float> features(rows.size() * data.shape().feature_bytes() / sizeof(float));
  std::vector<std::byte> labels(rows.size() * data.shape().label_bytes());
  data.gather(rows, std::as_writable_bytes(std::span(features)), labels);
  return features;
}

/// The rows of two splits are as many, of one table, and of one fingerprint.
TEST(GpuTraining, TrialsOfDifferentSplitsTrainOnTheirOwnRows) {
  JobSettings job = mlp_job();
  job.data.validation_fraction = 0.25;
  const auto solo = solo_node_group();
  const auto gpu = host_gpu();
  ResidentSets sets;
  std::vector<DataSets> kept;
  std::vector<std::shared_ptr<const ResidentSet>> resident;
  for (job.data.split_seed = 0; job.data.split_seed < 2; ++job.data.split_seed) {
    kept.push_back(open_data(job.data, *solo));
    resident.push_back(sets.get(*kept.back().train, *gpu));
    const std::vector<float> own = features_of(*kept.back().train);
    EXPECT_EQ(std::memcmp(resident.back()->features.get(), own.data(), own.size() * sizeof(float)),
              0)
        << "split " << job.data.split_seed;
  }
  EXPECT_EQ(sets.bytes(), 2 * ResidentSets::bytes_of(*kept[0].train));
}

/// A fingerprint looks at 64 rows; these differ in another.
TEST(GpuTraining, SetsWithOtherLabelsShareNoCopy) {
  const TemporaryDirectory folder;
  const auto file = [&](const std::string& name, const std::string& shape, std::string bytes) {
    write_file_atomically(folder.path() / name, npy("|u1", shape, bytes));
    return (folder.path() / name).string();
  };
  std::string classes(128, '\0');
  classes[2] = 1;
  JobSettings job = mlp_job();
  job.data = {.path = file("x.npy", "128, 4", std::string(512, 'x')),
              .labels = file("y.npy", "128,", classes)};
  const auto solo = solo_node_group();
  const DataSets first = open_data(job.data, *solo);
  classes[1] = 1;
  job.data.labels = file("z.npy", "128,", classes);
  const DataSets second = open_data(job.data, *solo);
  ASSERT_EQ(first.train->fingerprint(), second.train->fingerprint());
  const auto gpu = host_gpu();
  ResidentSets sets;
  const auto kept = sets.get(*first.train, *gpu);
  EXPECT_NE(sets.get(*second.train, *gpu), kept);
}

}  // namespace
}  // namespace muster::test
