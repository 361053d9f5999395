// Sweeps of real Muster jobs: `muster tune` with workers, trials as threads in them, and what is
// left when they are packed, moved, saved, killed or cannot work.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <csignal>
#include <map>
#include <nlohmann/json.hpp>

#include "tests/sweep/sweep_shop.h"

namespace muster::test {
namespace {

using testing::HasSubstr;
using testing::Not;

/// Ends with 0 or tells why not.
std::string finish(Running sweep) {
  EXPECT_EQ(sweep.wait(120), 0) << sweep.output();
  return sweep.output();
}

/// How often each epoch of a trial was written down.
std::map<double, int> epochs_of(const SweepShop& shop, const std::string& name,
                                const std::string& trial) {
  std::map<double, int> epochs;
  for (const auto& line : split(shop.file(name, "trials/" + trial + "/metrics.jsonl"), '\n')) {
    if (!line.empty()) {
      ++epochs[nlohmann::json::parse(line)["epoch"].get<double>()];
    }
  }
  return epochs;
}

TEST(WorkerSweep, SixteenPackedTrialsEndAsTheSameOnesOneByOne) {
  const SweepShop shop;
  shop.sweep("max_trials = 16\n");
  finish(shop.start("packed", {"--tune.parallel=16", "--ranks=1"}));
  finish(shop.start("serial", {"--tune.parallel=1", "--ranks=1"}));
  finish(shop.start("apart", {"--tune.parallel=2", "--ranks=2"}));
  EXPECT_EQ(split(shop.table("serial"), '\n').size(), 18U) << shop.table("serial");
  EXPECT_EQ(shop.table("packed"), shop.table("serial"));
  EXPECT_EQ(shop.table("apart"), shop.table("serial"));
  for (const std::string trial : {"0001", "0007", "0016"}) {
    EXPECT_EQ(shop.file("packed", "trials/" + trial + "/model/model.h5"),
              shop.file("serial", "trials/" + trial + "/model/model.h5"));
  }
}

TEST(WorkerSweep, TrialsGoOnWhereTheyWerePausedWhicheverWorkerTakesThem) {
  const SweepShop shop;
  shop.sweep("scheduler = asha\nmin_resource = 1\nmax_resource = 9\nmax_trials = 18\n");
  finish(shop.start("moving", {"--tune.parallel=3", "--ranks=3"}));
  EXPECT_THAT(shop.file("moving", "workers.log"), HasSubstr("resumed at step"))
      << "no trial went to another worker";
  for (int trial = 1; trial <= 18; ++trial) {
    const std::string number = (trial < 10 ? "000" : "00") + std::to_string(trial);
    for (const auto& [epoch, times] : epochs_of(shop, "moving", number)) {
      EXPECT_EQ(times, 1) << "trial " << trial << " trained epoch " << epoch << " again";
    }
  }
}

TEST(WorkerSweep, TermSavesAllRunningTrialsTogetherAndNothingIsTrainedTwice) {
  const SweepShop shop;
  shop.sweep("max_trials = 4\n");
  const std::vector<std::string> how{"--tune.parallel=4", "--ranks=2", "--tune.max_resource=30",
                                     "--tune.min_resource=30"};
  finish(shop.start("quiet", how));
  auto first = shop.start("left", how);
  ASSERT_TRUE(eventually([&] { return epochs_of(shop, "left", "0004").size() > 3; }));
  first.process().signal(SIGTERM);
  EXPECT_EQ(first.wait(), 75) << first.output();
  EXPECT_THAT(first.output(), HasSubstr("the same command goes on from here"));
  EXPECT_FALSE(posix_file_system().list(shop.root("left") / "checkpoints").empty());
  const auto before = shop.journal("left");
  const auto again = finish(shop.start("left", how));
  EXPECT_THAT(again, HasSubstr("continuing sweep left"));
  EXPECT_EQ(shop.table("left"), shop.table("quiet"));
  auto after = shop.journal("left");
  ASSERT_GT(after.size(), before.size());
  after.resize(before.size());
  EXPECT_EQ(after, before) << "a record was lost";
  for (const std::string trial : {"0001", "0002", "0003", "0004"}) {
    const auto epochs = epochs_of(shop, "left", trial);
    EXPECT_EQ(epochs.size(), 30U);
    for (const auto& [epoch, times] : epochs) {
      EXPECT_EQ(times, 1) << "trial " << trial << " trained epoch " << epoch << " twice";
    }
  }
}

TEST(WorkerSweep, AWorkerThatIsKilledCostsTimeAndNothingElse) {
  const SweepShop shop;
  shop.sweep("max_trials = 6\n");
  finish(shop.start("quiet", {"--tune.parallel=2", "--ranks=1"}));
  auto sweep = shop.start("killed", {"--tune.parallel=2", "--ranks=1"});
  ASSERT_TRUE(
      eventually([&] { return !shop.file("killed", "trials/0001/metrics.jsonl").empty(); }));
  for (const pid_t pid : shop.workers("killed")) {
    ::kill(pid, SIGKILL);
  }
  EXPECT_EQ(sweep.wait(), 0) << sweep.output();
  EXPECT_THAT(sweep.output(), HasSubstr("was killed by SIGKILL"));
  EXPECT_EQ(shop.table("killed"), shop.table("quiet"));
}

TEST(WorkerSweep, ASearchKeyThatTheJobDoesNotHaveIsFoundBeforeTheFirstTrial) {
  const SweepShop shop;
  shop.sweep("max_trials = 2\n", "optimizer.learning_rate = log 0.01 0.5\n");
  auto sweep = shop.start("typo");
  EXPECT_EQ(sweep.wait(), 64);
  EXPECT_THAT(sweep.output(), HasSubstr("unknown key 'optimizer.learning_rate'"));
  EXPECT_THAT(sweep.output(), HasSubstr("checking that the job takes what [search] searches"));
  EXPECT_FALSE(posix_file_system().exists(shop.root("typo") / "trials" / "0001"));
}

TEST(WorkerSweep, ATrialWhoseDataSetIsMissingSaysSoAndTheSweepGoesOn) {
  const SweepShop shop;
  shop.sweep("max_trials = 6\nretries = 0\n",
             "data.path = choice " + std::string(std::getenv("MUSTER_DIGITS")) + " /no/such.h5\n");
  const auto output = finish(shop.start("data", {"--ranks=1"}));
  EXPECT_THAT(output, HasSubstr("/no/such.h5"));
  EXPECT_THAT(shop.table("data"), HasSubstr(",complete,"));
  EXPECT_THAT(shop.table("data"), HasSubstr(",failed,"));
  bool is_told = false;
  for (const auto& trial : posix_file_system().list(shop.root("data") / "trials")) {
    is_told = is_told || shop.file("data", "trials/" + trial + "/failure").find("/no/such.h5") !=
                             std::string::npos;
  }
  EXPECT_TRUE(is_told) << "no trial's directory says why";
}

TEST(WorkerSweep, AMetricThatNoTrialReportsIsNamedWithThoseThatAreThere) {
  const SweepShop shop;
  shop.sweep("max_trials = 2\nretries = 0\nmax_failures = 2\n");
  auto sweep = shop.start("metric", {"--ranks=1", "--tune.objective=max accuracy"});
  sweep.wait();
  EXPECT_THAT(sweep.output(), HasSubstr("the job reports no accuracy: its metrics are"));
  EXPECT_THAT(shop.file("metric", "trials/0001/failure"), HasSubstr("val_accuracy"));
}

TEST(WorkerSweep, ALossThatIsNotANumberFailsItsTrialAlone) {
  const SweepShop shop;
  shop.sweep("max_trials = 6\nretries = 0\n", "optimizer.lr = choice 0.1 1e30\n");
  finish(shop.start("nan", {"--ranks=1", "--tune.objective=min val_loss"}));
  EXPECT_THAT(shop.table("nan"), HasSubstr(",complete,"));
  EXPECT_THAT(shop.table("nan"), HasSubstr(",failed,"));
}

TEST(WorkerSweep, TrialsOfSeveralRanksArePausedAndGoOn) {
  const SweepShop shop;
  shop.sweep("scheduler = asha\nmin_resource = 1\nmax_resource = 9\nmax_trials = 5\n", "",
             "job = job.ini\nranks = 2\n");
  const auto output = finish(shop.start("ranks"));
  EXPECT_THAT(output, HasSubstr("ranks: 5 trials, over"));
  EXPECT_THAT(shop.file("ranks", "trials/0001/log/rank-1.log"), Not(testing::IsEmpty()));
  EXPECT_THAT(shop.table("ranks"), HasSubstr(",3,")) << "nothing was promoted";
}

TEST(WorkerSweep, TheBestIsReadyToTrain) {
  const SweepShop shop;
  shop.sweep("max_trials = 3\n");
  finish(shop.start("best", {"--ranks=1"}));
  EXPECT_FALSE(shop.file("best", "best/model/model.h5").empty());
  Running train(shop.path(), {"train", (shop.root("best") / "best" / "job.ini").string()});
  EXPECT_EQ(train.wait(), 0) << train.output();
  EXPECT_TRUE(posix_file_system().exists(shop.path() / "runs" / "best-best" / "model"));
}

}  // namespace
}  // namespace muster::test
