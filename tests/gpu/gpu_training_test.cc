// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <torch/script.h>

#include "runtime/base/error.h"
#include "runtime/train/plan.h"
#include "tests/data/data_files.h"
#include "tests/gpu/stand_in.h"

namespace muster::test {
namespace {

using testing::Contains;
using testing::HasSubstr;

bool is_number(float value) {
  return std::isfinite(value);
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

}  // namespace
}  // namespace muster::test
