// Sweeps of real Muster jobs: `muster tune` with workers, trials as threads in them, and what is
// left when they are packed, moved, saved, killed or cannot work.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "launcher/sweep/memory_cap.h"
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

/// They go on from memory.
TEST(WorkerSweep, TrialsThatNoDiskTakesAreToldAndTrainNothingTwice) {
  const SweepShop shop;
  shop.sweep("scheduler = asha\nmin_resource = 1\nmax_resource = 9\nmax_trials = 9\n");
  for (int trial = 1; trial <= 9; ++trial) {
    const Path directory = shop.root("full") / "trials" / ("000" + std::to_string(trial));
    std::filesystem::create_directories(directory);
    std::filesystem::create_symlink(shop.path() / "nowhere", directory / "checkpoints");
  }
  const auto output = finish(shop.start("full", {"--tune.parallel=2", "--ranks=1"}));
  EXPECT_THAT(output, HasSubstr("its state could not be saved"));
  EXPECT_THAT(shop.table("full"), HasSubstr(",9,")) << "nothing was promoted";
  for (int trial = 1; trial <= 9; ++trial) {
    const auto launches =
        split(shop.file("full", "trials/000" + std::to_string(trial) + "/log/rank-0.log"), '\n');
    EXPECT_EQ(std::ranges::count_if(launches,
                                    [](const std::string& line) {
                                      return line.find("begins at step 0,") != std::string::npos;
                                    }),
              1)
        << "trial " << trial << " began anew";
  }
}

/// The last of a rung may be the first of the next, while other slots are free.
TEST(WorkerSweep, HyperbandComesToItsEndHoweverManyTrialsThereAre) {
  const SweepShop shop;
  shop.sweep("scheduler = hyperband\nmin_resource = 1\nmax_resource = 9\n");
  for (const int trials : {2, 5, 8, 13}) {
    const std::string name = "hyperband-" + std::to_string(trials);
    const std::string output = finish(shop.start(
        name, {"--tune.parallel=4", "--ranks=1", "--tune.max_trials=" + std::to_string(trials)}));
    EXPECT_THAT(output, HasSubstr(std::to_string(trials) + " trials, over"));
  }
}

TEST(WorkerSweep, ATrialsDirectoryReadsAsARuns) {
  const SweepShop shop;
  shop.sweep("scheduler = asha\nmin_resource = 1\nmax_resource = 3\nmax_trials = 4\n");
  finish(shop.start("told", {"--tune.parallel=2", "--ranks=1"}));
  std::map<std::string, int> states;
  for (const std::string trial : {"0001", "0002", "0003", "0004"}) {
    const auto log = shop.file("told", "trials/" + trial + "/log/rank-0.log");
    EXPECT_THAT(log, HasSubstr("begins at step 0, to run to epoch 1: optimizer.lr = "));
    EXPECT_THAT(log, HasSubstr(", epoch 1: "));
    const auto status =
        nlohmann::json::parse(shop.file("told", "trials/" + trial + "/status.json"));
    const std::string state = status["state"];
    ++states[state];
    EXPECT_EQ(status["name"], "told-" + trial);
    EXPECT_GT(status["metrics"].value("val_accuracy", 0.0), 0.0);
    EXPECT_EQ(status["transitions"][0]["status"], "Training");
    EXPECT_EQ(status["transitions"][1]["status"], "Interrupted") << "at the first rung";
    EXPECT_EQ(log.find("complete after step") != std::string::npos, state == "Completed") << log;
  }
  EXPECT_GE(states["Completed"], 1);
  EXPECT_EQ(states["Completed"] + states["Interrupted"], 4);
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

TEST(WorkerSweep, AWorkerThatCrashesIsToldByItsSignalAndWhereItsBackTraceIs) {
  const SweepShop shop;
  shop.sweep("max_trials = 6\n");
  auto sweep = shop.start("crashed", {"--tune.parallel=2", "--ranks=1"});
  ASSERT_TRUE(
      eventually([&] { return !shop.file("crashed", "trials/0001/metrics.jsonl").empty(); }));
  for (const pid_t pid : shop.workers("crashed")) {
    ::kill(pid, SIGSEGV);
  }
  EXPECT_EQ(sweep.wait(), 0) << sweep.output();
  EXPECT_THAT(sweep.output(),
              testing::ContainsRegex("was killed by SIGSEGV: in thread [a-z0-9 -]+ .its back-trace "
                                     "is in .*crashed/workers.log."));
  EXPECT_THAT(shop.file("crashed", "workers.log"), HasSubstr("back-trace:"));
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
  EXPECT_EQ(sweep.wait(), 1);
  EXPECT_THAT(sweep.output(), HasSubstr("the job reports no accuracy: its metrics are"));
  EXPECT_THAT(sweep.output(), HasSubstr("no trial has a value of accuracy; trial 2 failed: "));
  EXPECT_EQ(shop.start("metric", {"--ranks=1", "--tune.objective=max accuracy"}).wait(), 1)
      << "once more it says the same";
  auto list = Running(shop.path(), {"ls"});
  list.wait();
  EXPECT_THAT(list.output(), HasSubstr("sweep, failed"));
  EXPECT_THAT(shop.file("metric", "trials/0001/failure"), HasSubstr("val_accuracy"));
}

TEST(WorkerSweep, ItsJobMayBeMendedUntilATrialHasAValue) {
  const SweepShop shop;
  shop.sweep("max_trials = 2\nretries = 0\n");
  const std::string job = read_file(shop.path() / "job.ini");
  shop.write("job.ini", job + "[data]\nshape = 1 9 9\n");
  EXPECT_EQ(shop.start("job", {"--ranks=1"}).wait(), 1);
  shop.write("job.ini", job);
  const auto mended = finish(shop.start("job", {"--ranks=1", "--tune.max_trials=4"}));
  EXPECT_THAT(mended, HasSubstr("best: trial"));
  EXPECT_THAT(mended, Not(HasSubstr("failed:"))) << "those failed before";
  shop.write("job.ini", job + "[model]\ndropout = 0.5\n");
  auto other = shop.start("job", {"--ranks=1", "--tune.max_trials=6"});
  EXPECT_EQ(other.wait(), 64);
  EXPECT_THAT(other.output(), HasSubstr("the job of"));
  EXPECT_THAT(other.output(), HasSubstr("they differ in model.dropout."));
}

TEST(WorkerSweep, ItsCommandMayBeMendedUntilATrialHasAValue) {
  const SweepShop shop;
  const auto with = [&](const std::string& command, const std::string& search = "") {
    shop.sweep("retries = 0\n", search, "metric.val_accuracy = is (0.[0-9])\ncommand = " + command);
    auto sweep = shop.start("program", {"--ranks=1", "--tune.max_trials=6"});
    const int code = sweep.wait();
    return std::to_string(code) + sweep.output();
  };
  shop.sweep("max_trials = 2\nretries = 0\n", "", "command = eco is\n");
  EXPECT_EQ(shop.start("program", {"--ranks=1"}).wait(), 1);
  EXPECT_THAT(with("echo it is 0.5 \n", "optimizer.lr = log 0.1 0.2\n"),
              HasSubstr("they differ in trial.command, [search], [trial.metric]."));
  EXPECT_THAT(with("echo it is 0.5 \n"), testing::StartsWith("0"));
  EXPECT_THAT(with("echo it is 0.6 \n"), HasSubstr("they differ in trial.command."));
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

/// Four trials of a network so wide, all at once if they may: 4.3 million parameters and some 80 MB
/// each for 2048.
void shop_large_trials(const SweepShop& shop, int hidden = 2048) {
  shop.write("job.ini", read_file(shop.path() / "job.ini") + "[checkpoint]\nevery = never\n");
  shop.sweep("max_trials = 4\nretries = 0\nmin_resource = 1\nmax_resource = 1\n",
             "model.hidden = const " + std::to_string(hidden) +
                 "\nmodel.depth = const 2\ntrain.batch_size = const 256\n"
                 "optimizer.lr = log 0.001 0.01\n");
}
constexpr std::uint64_t tight = 420'000'000;  // libtorch, the data, and two or three of them

TEST(WorkerSweep, TrialsWaitForMemoryInsteadOfRunningOut) {
  const SweepShop shop;
  shop_large_trials(shop);
  const MemoryCap cap("tight", tight);
  if (!cap.has_group()) {
    GTEST_SKIP() << "no control group can be made here";
  }
  Running sweep(
      shop.path(),
      {"-c", "echo $$ > \"$0\"/cgroup.procs; exec \"$@\"", cap.group().string(), muster_program(),
       "tune", "sweep.ini", "--name=tight", "--tune.parallel=4", "--ranks=1"},
      "/bin/sh");
  EXPECT_EQ(sweep.wait(), 0) << sweep.output();
  EXPECT_FALSE(cap.is_breached()) << "the kernel had to kill:\n" << sweep.output();
  EXPECT_THAT(shop.table("tight"), Not(HasSubstr(",failed,")));
  EXPECT_THAT(sweep.output(), HasSubstr("tight: 4 trials, over"));
}

TEST(WorkerSweep, AWorkerThatTheKernelKillsForMemoryComesBackWithFewerTrials) {
  const SweepShop shop;
  shop_large_trials(shop);
  const MemoryCap cap("killed", 40'000'000);
  if (!cap.has_group()) {
    GTEST_SKIP() << "no control group can be made here";
  }
  auto sweep = shop.start("killed", {"--tune.parallel=4", "--ranks=1"});
  ASSERT_TRUE(eventually([&] { return !shop.file("killed", "trials/0004/config.ini").empty(); }));
  for (const pid_t pid : shop.workers("killed")) {
    cap.hold(pid);  // from here on it may take this much more, together
  }
  EXPECT_EQ(sweep.wait(180), 0) << sweep.output();
  EXPECT_TRUE(cap.is_breached());
  EXPECT_THAT(sweep.output(), HasSubstr("was killed by SIGKILL for want of memory"));
  EXPECT_THAT(sweep.output(), HasSubstr("at once from here on"));
  EXPECT_THAT(shop.table("killed"), Not(HasSubstr(",failed,")));
}

/// Bytes of private memory that the process has mapped; 0 when it is gone.
std::uint64_t mapped_by(pid_t pid) {
  const auto status = read_file_if_there("/proc/" + std::to_string(pid) + "/status");
  for (const auto& line : split(status.value_or(""), '\n')) {
    if (line.starts_with("VmData:")) {
      return static_cast<std::uint64_t>(*parse_int(words(line)[1])) * 1024;
    }
  }
  return 0;
}

/// The most that a worker of the sweep had mapped at once; the sweep runs to its end.
std::uint64_t most_mapped(const SweepShop& shop, const std::string& name, Running sweep) {
  std::uint64_t most = 0;
  while (!sweep.process().wait_for(1)) {
    for (const pid_t pid : shop.workers(name)) {
      most = std::max(most, mapped_by(pid));
    }
  }
  EXPECT_EQ(sweep.wait(), 0) << sweep.output();
  return most;
}
constexpr std::uint64_t one_tensor = 3072 * 3072 * sizeof(float);

TEST(WorkerSweep, ATrialThatIsRefusedMemoryMakesRoomAndComesAgain) {
  const SweepShop shop;
  shop_large_trials(shop, 3072);  // tensors that malloc gives back to the system at once
  const std::uint64_t alone =
      most_mapped(shop, "alone", shop.start("alone", {"--tune.max_trials=1", "--ranks=1"}));
  ASSERT_GT(alone, 0U);
  EXPECT_FALSE(shop.file("alone", "best/model/model.h5").empty())
      << "the sweep has ended before its last trial's model was written";
  auto sweep = shop.start("refused", {"--tune.parallel=4", "--ranks=1"});
  ASSERT_TRUE(eventually([&] { return !shop.file("refused", "trials/0001/config.ini").empty(); }));
  auto pids = shop.workers("refused");
  pids.push_back(sweep.process().pid());  // and so those that it starts
  for (const pid_t pid : pids) {          // from here on, for one of them and no more
    const rlimit limit{alone + one_tensor, alone + one_tensor};
    ASSERT_EQ(::prlimit(pid, RLIMIT_DATA, &limit, nullptr), 0);
  }
  EXPECT_EQ(sweep.wait(180), 0) << sweep.output();
  EXPECT_THAT(shop.table("refused"), Not(HasSubstr(",failed,"))) << sweep.output();
  EXPECT_THAT(sweep.output(), HasSubstr("a trial did not fit beside the others"));
  for (const std::string trial : {"0001", "0002", "0003", "0004"}) {
    EXPECT_FALSE(shop.file("refused", "trials/" + trial + "/model/model.h5").empty()) << trial;
  }
}

TEST(WorkerSweep, TheBestIsReadyToTrain) {
  const SweepShop shop;
  shop.sweep("max_trials = 3\nmin_resource = 5\nmax_resource = 5\n");  // not the job's own 3
  finish(shop.start("best", {"--ranks=1"}));
  const auto model = shop.file("best", "best/model/model.h5");
  EXPECT_FALSE(model.empty());
  Running train(shop.path(),
                {"train", (shop.root("best") / "best" / "job.ini").string(), "--ranks=1"});
  EXPECT_EQ(train.wait(), 0) << train.output();
  EXPECT_EQ(read_file(shop.path() / "runs" / "best-best" / "model" / "model.h5"), model)
      << "it trains something else than the trial did";
}

}  // namespace
}  // namespace muster::test
