// Every option of a training job, through the real program: what it changes in the model that a run
// leaves behind and in its metrics.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "tests/train/training_run.h"

namespace muster {
namespace {

using namespace test;
using testing::DoubleNear;
using testing::ElementsAre;
using testing::HasSubstr;

class TrainOptions : public TrainingRun {
 protected:
  /// A run that must finish.
  void train(const std::string& name, const std::string& options,
             const std::string& job = "configs/digits_mlp.ini") const {
    const Ending ending = alone(name, options, job);
    ASSERT_EQ(ending.code, 0) << name << ": " << ending.output;
  }
  double last(const std::string& name, const std::string& what) const {
    const auto values = metric(name, what);
    return values.empty() ? std::nan("") : values.back();
  }
};

TEST_F(TrainOptions, SchedulesSetTheRateOfEachEpoch) {
  train("step", "--schedule.kind step --schedule.every 1 --schedule.factor 0.5 --train.epochs 3");
  EXPECT_THAT(metric("step", "lr"),
              ElementsAre(DoubleNear(0.1, 1e-9), DoubleNear(0.05, 1e-9), DoubleNear(0.025, 1e-9)));
  train("cosine", "--schedule.kind cosine --schedule.final_share 0.1 --train.epochs 3");
  EXPECT_NEAR(last("cosine", "lr"), 0.01, 0.001);
  train("cycle", "--schedule.kind one_cycle --train.epochs 3");
  EXPECT_LT(last("cycle", "lr"), 0.001);
  train("warm", "--schedule.warmup_epochs 2 --train.epochs 3");
  EXPECT_NEAR(metric("warm", "lr").front(), 0.05, 0.003);
  EXPECT_NEAR(last("warm", "lr"), 0.1, 1e-9);
}

TEST_F(TrainOptions, FreezeAndRateByPatternHoldParametersStill) {
  train("one", "--train.epochs 1 --model.freeze layers.0.*");
  train("two", "--train.epochs 2 --model.freeze layers.0.*");
  EXPECT_EQ(model("one")["layers.0.weight"], model("two")["layers.0.weight"]);
  EXPECT_NE(model("one")["layers.1.weight"], model("two")["layers.1.weight"]);
  train("slow", "--optimizer.rate 'layers.0.* 0' --train.epochs 2");
  EXPECT_EQ(model("slow")["layers.0.weight"], model("two")["layers.0.weight"]);
  EXPECT_EQ(model("slow")["layers.1.weight"], model("two")["layers.1.weight"]);
}

TEST_F(TrainOptions, NoDecayLeavesParametersOutOfTheDecay) {
  train("none", "");
  train("decayed", "--optimizer.weight_decay 0.1");
  train("spared", "--optimizer.weight_decay 0.1 --optimizer.no_decay '*'");
  EXPECT_EQ(model("spared"), model("none"));
  EXPECT_NE(model("decayed"), model("none"));
}

TEST_F(TrainOptions, AccumulationComputesTheSameStep) {
  train("whole", "");
  train("parts", "--train.accumulate 3");
  EXPECT_NEAR(last("parts", "train_loss"), last("whole", "train_loss"), 1e-4);
}

TEST_F(TrainOptions, ClippingBoundsTheStep) {
  train("start", "--train.steps 1 --optimizer.lr 1e-12");
  train("clipped", "--train.steps 1 --optimizer.lr 1 --optimizer.momentum 0 --optimizer.clip 0.01");
  double squares = 0;
  for (const auto& [name, values] : model("start")) {
    const Values moved = model("clipped")[name];
    for (std::size_t i = 0; i < values.size(); ++i) {
      squares += std::pow(static_cast<double>(moved[i]) - static_cast<double>(values[i]), 2);
    }
  }
  EXPECT_NEAR(std::sqrt(squares), 0.01, 1e-4) << "lr 1, so the step is the clipped gradient";
}

TEST_F(TrainOptions, LabelSmoothingRaisesTheTrainingLoss) {
  train("sharp", "--train.epochs 5");
  train("smooth", "--train.epochs 5 --train.label_smoothing 0.2");
  EXPECT_GT(last("smooth", "train_loss"), last("sharp", "train_loss") + 0.3);
  EXPECT_GT(last("smooth", "val_accuracy"), 0.8);
}

TEST_F(TrainOptions, AveragedWeightsAreWhatIsJudgedAndKept) {
  train("plain", "--train.evaluate_every 0");
  train("averaged", "--train.evaluate_every 0 --train.ema 0.9");
  EXPECT_EQ(metric("plain", "train_loss"), metric("averaged", "train_loss"))
      << "the average follows, it does not steer";
  EXPECT_NE(model("plain"), model("averaged"));
}

TEST_F(TrainOptions, TheAverageOfAFrozenParameterIsItself) {
  train("start", "--train.steps 1 --model.freeze layers.0.*");
  train("averaged", "--train.ema 0.9 --model.freeze layers.0.*");
  EXPECT_EQ(model("averaged")["layers.0.weight"], model("start")["layers.0.weight"]);
  EXPECT_GT(last("averaged", "val_accuracy"), 0.6) << "it is judged with them";
}

TEST_F(TrainOptions, EveryOptimiserLearns) {
  for (const std::string kind : {"sgd", "adam", "adamw"}) {
    train(kind, "--train.epochs 4 --optimizer.kind " + kind + " --optimizer.lr " +
                    (kind == "sgd" ? "0.1 --optimizer.nesterov true" : "0.003"));
    EXPECT_GT(last(kind, "val_accuracy"), 0.85) << kind;
  }
}

TEST_F(TrainOptions, EveryLossIsMinimised) {
  train("mse", "--train.loss mse --data.task values --optimizer.lr 0.001 --train.monitor auto");
  train("mae", "--train.loss mae --data.task values --optimizer.lr 0.01 --train.monitor auto");
  for (const std::string kind : {"mse", "mae"}) {
    const auto losses = metric(kind, "train_loss");
    EXPECT_LT(losses.back(), losses.front()) << kind;
  }
  const Path two = csv("two.csv", 200);
  train("bce", "--data.path " + two.string() +
                   " --data.task values --train.loss bce --train.metric auc --train.monitor auto "
                   "--optimizer.lr 0.01");
  EXPECT_GT(metric("bce", "val_auc").size(), 0U);
}

TEST_F(TrainOptions, AutocastComputesInBfloat16) {
  train("whole", "");
  train("half", "--train.amp bf16");
  EXPECT_NE(model("whole"), model("half"));
  EXPECT_NEAR(last("half", "train_loss"), last("whole", "train_loss"), 0.05);
}

TEST_F(TrainOptions, StartsFromTheModelOfAnotherRun) {
  train("first", "--train.epochs 6");
  const double reached = last("first", "val_accuracy");
  for (const std::string file : {"model.safetensors", "model.h5"}) {
    train("from-" + file, "--train.steps 1 --optimizer.lr 1e-9 --model.init " +
                              (directory("first") / "model" / file).string());
    EXPECT_NEAR(last("from-" + file, "val_accuracy"), reached, 0.03) << file;
  }
  // Two layers of it under other names, and a new head.
  train("tuned",
        "--model.depth 2 --model.hidden 64 --model.freeze layers.0.* --train.steps 1 "
        "--model.init_skip layers.1.* --model.init_skip layers.2.* --model.init " +
            (directory("first") / "model" / "model.h5").string());
  EXPECT_EQ(model("tuned")["layers.0.weight"], model("first")["layers.0.weight"]);
}

TEST_F(TrainOptions, AModelOfASharedObjectTrainsAsItsExampleSays) {
  const Ending ending =
      supervised("towers", 2, "--train.epochs 8 --model.kind plugin:" + std::string(TWO_TOWERS),
                 "configs/examples/plugin_model/job.ini");
  ASSERT_EQ(ending.code, 0) << ending.output;
  EXPECT_GT(last("towers", "val_accuracy"), 0.8);
  EXPECT_EQ(model("towers").count("left.weight"), 1U);
}

TEST_F(TrainOptions, ATorchScriptFileTrainsAsItIs) {
  train("first", "--train.epochs 1");
  const std::string file = (directory("first") / "model" / "model.pt").string();
  const Ending ending =
      supervised("script", 2, "--train.epochs 4 --model.kind torchscript --model.file " + file);
  ASSERT_EQ(ending.code, 0) << ending.output;
  EXPECT_GT(last("script", "val_accuracy"), last("first", "val_accuracy"));
}

/// Of a trace of `rank`: the steps that are in it, by their exchanges.
std::vector<int> traced_steps(const Path& directory, int rank) {
  const auto trace = nlohmann::json::parse(
      read_file(directory / "profile" / ("trace-rank-" + std::to_string(rank) + ".json")));
  std::vector<int> steps;
  std::size_t operators = 0;
  for (const auto& event : trace["traceEvents"]) {
    if (event.value("name", "") == "exchange") {
      steps.push_back(event["args"]["step"]);
    }
    operators += event.value("name", "").starts_with("aten::") ? 1 : 0;
  }
  EXPECT_GT(operators, 10U);
  return steps;
}

TEST_F(TrainOptions, ProfileWritesATraceOfEachRank) {
  const Ending ending = supervised("traced", 2, "--train.profile 3-5");
  ASSERT_EQ(ending.code, 0) << ending.output;
  EXPECT_THAT(traced_steps(directory("traced"), 0), ElementsAre(3, 4, 5));
  EXPECT_THAT(traced_steps(directory("traced"), 1), ElementsAre(3, 4, 5));
}

TEST_F(TrainOptions, ProfileGoesAsFarAsTheRunDoes) {
  train("last", "--train.profile 45-60");
  EXPECT_THAT(traced_steps(directory("last"), 0), ElementsAre(45, 46));
  const Ending beyond = alone("beyond", "--train.profile 100-110");
  EXPECT_EQ(beyond.code, 0) << beyond.output;
  EXPECT_THAT(beyond.output, HasSubstr("there is no trace, the last step was 46"));
}

TEST_F(TrainOptions, SkipLeavesBadStepsOutAndStopNamesThem) {
  const std::string bad =
      "--data.check_values false --data.normalize none --train.monitor auto "
      "--optimizer.momentum 0 --train.batch_size 20 --data.path " +
      csv("nan.csv", 100, "nan,1,0", 50).string();
  const Ending stopped = supervised("stopped", 2, bad + " --data.validation_fraction 0");
  EXPECT_EQ(stopped.code, 64) << stopped.output;
  EXPECT_THAT(stopped.output, HasSubstr("is not finite (NaN or infinity)"));
  EXPECT_THAT(stopped.output, HasSubstr("train.on_nan = skip"));
  const Ending skipped =
      supervised("skipped", 2, bad + " --data.validation_fraction 0 --train.on_nan skip");
  EXPECT_EQ(skipped.code, 0) << skipped.output;
  EXPECT_THAT(skipped.output, HasSubstr("the step is left out"));
  for (const auto& [name, values] : model("skipped")) {
    EXPECT_TRUE(std::ranges::all_of(values, [](float x) { return std::isfinite(x); })) << name;
  }
}

// A hopeless run says so in a few lines, and nothing was learnt is not a loss of nothing.
TEST_F(TrainOptions, SkippingEveryStepHasNoLossAndFewWords) {
  const Ending ending = alone("hopeless", "--optimizer.lr 1e38 --train.on_nan skip");
  EXPECT_EQ(ending.code, 0) << ending.output;
  EXPECT_THAT(ending.output, HasSubstr("23 steps of this epoch were left out"));
  EXPECT_THAT(ending.output, HasSubstr("all of them"));
  EXPECT_LE(std::ranges::count(ending.output, '\n'), 24) << ending.output;
  EXPECT_THAT(read_file(directory("hopeless") / "metrics.jsonl"), HasSubstr("\"epoch\":2,"));
  EXPECT_THAT(read_file(directory("hopeless") / "metrics.jsonl"), HasSubstr("\"train_loss\":null"));
}

TEST_F(TrainOptions, BucketsGiveWhatTheFusedExchangeGives) {
  for (const std::string exchange : {"fused", "bucketed"}) {
    const Ending ending =
        supervised(exchange, 2, "--train.bucket_mb 0.01 --train.exchange " + exchange);
    ASSERT_EQ(ending.code, 0) << ending.output;
  }
  EXPECT_NEAR(last("bucketed", "train_loss"), last("fused", "train_loss"), 1e-4);
  EXPECT_EQ(last("bucketed", "val_accuracy"), last("fused", "val_accuracy"));
}

// Over two ranks with batch norm of all samples, the losses are those of one rank; of halves, not.
TEST_F(TrainOptions, SynchronisedBatchNormSeesAllSamples) {
  const std::string job = "configs/digits_cnn.ini";
  const std::string few =
      "--train.steps 6 --optimizer.kind sgd --optimizer.lr 0.01 "
      "--schedule.kind constant --train.report_every 1 --model.kind resnet18 "
      "--model.width 4 --model.batch_norm ";
  train("one", few + "local", job);
  for (const std::string kind : {"local", "synchronised"}) {
    const Ending ending = supervised(kind, 2, few + kind, job);
    ASSERT_EQ(ending.code, 0) << ending.output;
  }
  const auto one = metric("one", "train_loss");
  const auto all = metric("synchronised", "train_loss");
  const auto halves = metric("local", "train_loss");
  ASSERT_EQ(one.size(), all.size());
  for (std::size_t i = 0; i < one.size(); ++i) {
    EXPECT_NEAR(all[i], one[i], 1e-3) << i;
  }
  EXPECT_GT(std::abs(halves[0] - one[0]), 1e-4);
}

TEST_F(TrainOptions, StopsWhenPatienceRunsOut) {
  const Ending ending = alone("patient",
                              "--train.epochs 50 --train.patience 2 --train.monitor "
                              "'max val_loss'");
  EXPECT_EQ(ending.code, 0) << ending.output;
  EXPECT_THAT(ending.output, HasSubstr("has not improved for 2 evaluations"));
  EXPECT_EQ(metric("patient", "val_loss").size(), 3U);
}

TEST_F(TrainOptions, RulesLookAtAllRanks) {
  const Ending ending =
      supervised("ailing", 2,
                 "--debug.rules all --debug.every 2 --debug.loss_looks 3 --debug.action stop "
                 "--optimizer.lr 1e-12 --optimizer.momentum 0 --train.epochs 20");
  EXPECT_EQ(ending.code, 77) << ending.output;
  EXPECT_THAT(ending.output, HasSubstr("loss_not_decreasing"));
}

// Sleeping, rank 1 is slow on any machine; the others' times are the machine's own.
TEST_F(TrainOptions, NamesTheRankThatAllOthersWaitFor) {
  const Ending ending = in_source(
      "timeout 100 mpirun --allow-run-as-root --oversubscribe -np 2 " + program("muster-rank") +
      words("configs/digits_mlp.ini", "slow", "--train.epochs 10 --model.kind plugin:" SLOW_RANK));
  ASSERT_EQ(ending.code, 0) << ending.output;
  EXPECT_THAT(ending.output, HasSubstr("rank 1 is slow: "));
  EXPECT_THAT(ending.output, HasSubstr("all others wait for it"));
}

TEST_F(TrainOptions, StrictRefusesWhatItCannotKeep) {
  const Ending summed = supervised("summed", 2,
                                   "--train.strict true --model.kind resnet18 --model.width 4 "
                                   "--model.batch_norm synchronised",
                                   "configs/digits_cnn.ini");
  EXPECT_EQ(summed.code, 64) << summed.output;
  EXPECT_THAT(summed.output, HasSubstr("use model.batch_norm = local"));
  const Ending bucketed =
      supervised("bucketed", 2, "--train.strict true --train.exchange bucketed");
  EXPECT_EQ(bucketed.code, 64);
  EXPECT_THAT(bucketed.output, HasSubstr("train.strict needs the ranks on one machine"));
}

}  // namespace
}  // namespace muster
