// Results of several ranks beside those of a single process, through the Trainer.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/train/gradient_pool.h"
#include "tests/train/agreement.h"

namespace muster {
namespace {

using namespace test;
using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(Agreement, ParametersAfterOneStep) {
  const JobSettings job = job_of("128", 512);
  const Outcome alone = train_on(1, job, 1);
  const Outcome together = train_on(2, job, 1);
  EXPECT_LE(largest_difference(alone.parameters, together.parameters),
            1e-6 * largest(alone.parameters));
  EXPECT_NE(alone.parameters, train_on(1, job, 2).parameters) << "a step must change something";
}

TEST(Agreement, LossesOfAHundredSteps) {
  const JobSettings job = job_of("128", 512);
  const Outcome alone = train_on(1, job, 100);
  EXPECT_LE(largest_difference(alone.losses, train_on(2, job, 100).losses), 1e-5);
  EXPECT_LE(largest_difference(alone.losses, train_on(3, job, 100).losses), 1e-5);
  // Four steps see every sample once.
  EXPECT_LT(std::accumulate(alone.losses.end() - 4, alone.losses.end(), 0.0),
            std::accumulate(alone.losses.begin(), alone.losses.begin() + 4, 0.0))
      << "it must learn";
}

TEST(Agreement, LossesOfBucketedExchange) {
  JobSettings job = job_of("128", 512);
  const Outcome alone = train_on(1, job, 20);
  job.train.exchange = "bucketed";
  EXPECT_LE(largest_difference(alone.losses, train_on(2, job, 20).losses), 1e-5);
}

TEST(Agreement, LossesOfAdamW) {
  JobSettings job = job_of("128", 512);
  job.optimizer.kind = "adamw";
  job.optimizer.weight_decay = 0.01;
  EXPECT_LE(largest_difference(train_on(1, job, 3).losses, train_on(2, job, 3).losses), 1e-4);
}

TEST(Agreement, LossesOfFortyTwoLayers) {
  JobSettings job = job_of("128", 512);
  job.model.depth = 42;
  job.data.shape = "128";
  job.optimizer.lr = 1e-4;
  EXPECT_LE(largest_difference(train_on(1, job, 10).losses, train_on(2, job, 10).losses), 1e-5);
}

// 67 rows in batches of 64: the last one is ragged, and leaves one of four ranks without a sample.
TEST(Agreement, RaggedBatchesAndPartsOfThem) {
  JobSettings job = job_of("32", 67);
  job.train.batch_size = 64;
  const Outcome alone = train_on(1, job, 10);
  EXPECT_LE(largest_difference(alone.losses, train_on(4, job, 10).losses), 1e-5);
  job.train.accumulate = 3;
  EXPECT_LE(largest_difference(alone.losses, train_on(2, job, 10).losses), 1e-5);
}

// Two levels: gradients are summed in the memory of a machine, then between equal local ranks.
TEST(Machines, LossesAndParametersOfASingleProcess) {
  const JobSettings job = job_of("128", 512);
  const Outcome alone = train_on(1, job, 100);
  EXPECT_LE(largest_difference(alone.losses, train_on_machines(2, 2, job, 100).losses), 1e-5);
  EXPECT_LE(largest_difference(alone.losses, train_on_machines(3, 1, job, 100).losses), 1e-5);
  const Outcome step = train_on(1, job, 1);
  EXPECT_LE(largest_difference(step.parameters, train_on_machines(2, 2, job, 1).parameters),
            1e-6 * largest(step.parameters));
}

TEST(Machines, ClipAverageAndLeaveRaggedBatchesRight) {
  JobSettings job = job_of("32", 67);
  job.train.batch_size = 64;  // the last batch leaves one of four ranks without a sample
  job.train.ema = 0.9;
  job.optimizer.kind = "adamw";
  job.optimizer.clip = 0.05;
  EXPECT_LE(largest_difference(train_on(1, job, 4).losses, train_on_machines(2, 2, job, 4).losses),
            1e-4);
}

// The average of a part of the parameters lies on each machine; what is judged and kept is whole.
TEST(Machines, HaveTheWholeMovingAverageAtTheEnd) {
  GradientPool::install();
  JobSettings job = job_of("32", 67);
  job.train.batch_size = 64;
  job.train.epochs = 3;
  job.train.ema = 0.9;
  std::vector<std::vector<float>> averages(5);
  const auto run = [&](const RankGroups& groups, std::size_t place) {
    at::set_num_threads(1);
    const DataSets data = open_data(job.data, groups.node);
    const auto model = make_model(job.model, data.train->shape(), job.train.seed);
    Listener observer;
    Trainer trainer(job, {.model = *model, .train = *data.train, .ranks = groups}, observer);
    demand(trainer.run() == TrainEnd::finished, "not finished");
    trainer.with_final_parameters([&] { averages[place] = parameters_of(*model); });
    groups.node.barrier();
  };
  EXPECT_THAT(run_machines(2, 2,
                           [&](const RankGroups& groups) {
                             run(groups, static_cast<std::size_t>(groups.world.rank()));
                           }),
              Each(IsEmpty()));
  EXPECT_THAT(run_machines(1, 1, [&](const RankGroups& groups) { run(groups, 4); }),
              Each(IsEmpty()));
  for (std::size_t rank = 0; rank < 4; ++rank) {
    EXPECT_LE(largest_difference(averages[rank], averages[4]), 1e-5) << rank;
  }
  EXPECT_GT(largest(averages[4]), 0.01);
}

// Each rank's own statistics, weighted by its samples, whichever machine it is on.
TEST(Machines, BatchNormMovesItsStatisticsByTheMeanOfAllRanks) {
  JobSettings job = job_of("16", 64);
  job.model.kind = "resnet18";
  job.model.width = 4;
  job.data.shape = "3 8 8";
  job.train.batch_size = 32;
  const Outcome together = train_on(4, job, 3);
  EXPECT_LE(largest_difference(together.losses, train_on_machines(2, 2, job, 3).losses), 1e-4);
}

TEST(Machines, NameTheRankWhoseLossIsNotFinite) {
  GradientPool::install();
  JobSettings job = job_of("16", 256);
  job.optimizer.lr = 1e38;
  const auto endings =
      run_machines(2, 2, [&](const RankGroups& groups) { train(job, groups, 20); });
  EXPECT_THAT(endings, Each(testing::AllOf(HasSubstr("is not finite (NaN or infinity)"),
                                           HasSubstr("lower optimizer.lr"))));
}

// The tree of strict sums stands in the memory of one machine: refused, whatever the exchange.
TEST(Machines, AreRefusedByStrictTraining) {
  GradientPool::install();
  for (const std::string exchange : {"fused", "bucketed"}) {
    JobSettings job = job_of("16", 256);
    job.train.strict = true;
    job.train.exchange = exchange;
    const auto endings =
        run_machines(2, 2, [&](const RankGroups& groups) { train(job, groups, 1); });
    EXPECT_THAT(endings, Each(HasSubstr("train.strict needs the ranks on one machine")))
        << exchange;
  }
}

TEST(Strict, GivesEqualBitsOnAnyNumberOfRanks) {
  JobSettings job = job_of("64 48", 200);
  job.train.strict = true;
  job.train.batch_size = 61;
  job.optimizer.momentum = 0.9;
  job.model.dropout = 0.1;
  const Outcome alone = train_on(1, job, 12);
  for (const int ranks : {2, 3, 4}) {
    const Outcome together = train_on(ranks, job, 12);
    EXPECT_EQ(together.losses, alone.losses) << ranks << " ranks";
    EXPECT_EQ(std::memcmp(together.parameters.data(), alone.parameters.data(),
                          alone.parameters.size() * sizeof(float)),
              0)
        << ranks << " ranks";
  }
}

TEST(Strict, RefusesMoreRanksThanShards) {
  JobSettings job = job_of("16", 64);
  job.train.strict = true;
  job.train.shards = 2;
  job.train.batch_size = 32;
  const auto endings = run_threads(3, [&](LocalGroup& group) { train(job, group, 1); });
  EXPECT_THAT(endings, Each(HasSubstr("raise train.shards")));
}

TEST(Trainer, NamesTheFirstDifferenceBetweenTheRanksModels) {
  const auto endings = run_threads(
      3, [&](LocalGroup& group) { train(job_of(group.rank() == 2 ? "17" : "16", 256), group, 1); });
  EXPECT_THAT(endings, Each(testing::AllOf(HasSubstr("on rank 0 and"), HasSubstr("on rank 2"),
                                           HasSubstr("sum of 12544 float32"),
                                           HasSubstr("sum of 13328 float32"))));
}

// A model that cannot go on, on one rank.
class Failing final : public Model {
 public:
  Failing(std::unique_ptr<Model> model, int passes) : model_(std::move(model)), passes_(passes) {}
  const std::vector<NamedTensor>& parameters() const override { return model_->parameters(); }
  const std::vector<NamedTensor>& buffers() const override { return model_->buffers(); }
  at::Tensor forward(const at::Tensor& features, const Pass& pass) override {
    if (passes_-- == 0) {
      throw Error(Fault::bad_input, "row 17 of the file holds a NaN");
    }
    return model_->forward(features, pass);
  }
  std::string_view kind() const override { return model_->kind(); }
  std::string fingerprint() const override { return model_->fingerprint(); }

 private:
  std::unique_ptr<Model> model_;
  int passes_;
};

TEST(Trainer, OneRanksErrorEndsTheOthersWithItsSentence) {
  GradientPool::install();
  const JobSettings job = job_of("16", 256);
  const auto endings = run_threads(3, [&](LocalGroup& group) {
    try {
      NodeCommunicator world(group);
      const auto across = solo_communicator();
      const DataSets data = open_data(job.data, group);
      Failing model(make_model(job.model, data.train->shape(), 1), group.rank() == 1 ? 3 : 1000);
      Listener observer;
      Trainer trainer(job, {.model = model, .train = *data.train, .ranks = {group, *across, world}},
                      observer);
      trainer.run_steps(20);
    } catch (const std::exception& error) {
      group.abort(report(error));
      throw;
    }
  });
  EXPECT_THAT(endings, Each(HasSubstr("row 17 of the file holds a NaN")));
}

TEST(Trainer, RulesSpeakAndStopAllRanks) {
  GradientPool::install();
  JobSettings job = job_of("16", 256);
  job.train.evaluate_every = 0;
  job.optimizer.lr = 0;  // nothing is learnt: the loss stands
  job.debug.rules = "loss_not_decreasing";
  job.debug.every = 2;
  job.debug.loss_looks = 3;
  job.debug.action = "stop";
  std::vector<std::string> remarks;
  const auto endings = run_threads(2, [&](LocalGroup& group) {
    NodeCommunicator world(group);
    const auto across = solo_communicator();
    const DataSets data = open_data(job.data, group);
    const auto model = make_model(job.model, data.train->shape(), 1);
    Listener observer;
    Trainer trainer(job, {.model = *model, .train = *data.train, .ranks = {group, *across, world}},
                    observer);
    demand(trainer.run() == TrainEnd::stopped, "the rule did not stop it");
    demand(trainer.step() == 9, "it stopped elsewhere: " + std::to_string(trainer.step()));
    if (group.rank() == 0) {
      remarks = observer.remarks;
    }
  });
  EXPECT_THAT(endings, Each(IsEmpty()));
  ASSERT_EQ(remarks.size(), 1U);
  EXPECT_THAT(remarks[0], HasSubstr("loss_not_decreasing"));
}

TEST(Trainer, LeavesOutTheRaggedBatchWhereAsked) {
  JobSettings job = job_of("16", 100);
  job.train.batch_size = 64;
  job.data.drop_last = true;
  job.train.epochs = 3;
  const auto endings = run_threads(1, [&](LocalGroup& group) {
    NodeCommunicator world(group);
    const auto across = solo_communicator();
    const DataSets data = open_data(job.data, group);
    const auto model = make_model(job.model, data.train->shape(), 1);
    Listener observer;
    Trainer trainer(job, {.model = *model, .train = *data.train, .ranks = {group, *across, world}},
                    observer);
    demand(trainer.steps() == 3, "a step an epoch");
    demand(trainer.run() == TrainEnd::finished && trainer.is_finished(), "not finished");
    demand(trainer.run() == TrainEnd::finished && trainer.step() == 3, "it went on");
  });
  EXPECT_THAT(endings, Each(IsEmpty()));
}

}  // namespace
}  // namespace muster
