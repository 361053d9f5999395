// Real programs (small shell scripts) as trials: what they print, how they end, and what becomes of
// those that behave badly.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cmath>
#include <map>

#include "launcher/program/opt_ml.h"
#include "launcher/sweep/local_programs.h"
#include "launcher/sweep/worker_runner.h"
#include "runtime/base/memory_left.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

using hpo::Decision;
using hpo::TrialEvent;
using hpo::TrialState;
using testing::HasSubstr;

class ProgramTrials : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "muster-runner-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
    plan_.sweep = "s";
    plan_.trials = root_ / "trials";
    plan_.directory = root_;
    plan_.objective = "acc";
    plan_.metrics = LineMetrics::Definitions{{"acc", "acc=([^ ]+)"}, {"loss", "loss=([^ ]+)"}};
    plan_.grace = 0.5;
    plan_.environment = {{"PATH", "/usr/bin:/bin"}};
    const std::vector<hpo::SpaceLine> lines{{"lr", "float 0 1", "sweep.ini:3"},
                                            {"kind", "choice mlp cnn", "sweep.ini:4"}};
    space_ = hpo::Space::parse(lines);
  }
  void TearDown() override {
    runner_.reset();
    source_.reset();
    std::filesystem::remove_all(root_);
  }

  /// The script gets the arguments that a trial gets.
  void make_runner(const std::string& script, std::size_t slots = 2) {
    plan_.command = {"/bin/sh", "-c", script, "program"};
    open(slots);
  }
  void open(std::size_t slots) {
    runner_.reset();
    source_ = std::make_unique<LocalPrograms>(plan_, machine_, slots, clock_);
    runner_ = std::make_unique<WorkerRunner>(
        WorkerRunnerPlan{}, std::vector<WorkerSource*>{source_.get()}, space_, clock_);
  }
  void start(hpo::TrialId trial = 1, double to = hpo::no_limit) {
    hpo::Launch launch;
    launch.trial = trial;
    launch.config = space_.config({{"lr", "0.25"}, {"kind", "cnn"}});
    launch.to = to;
    runner_->start(launch, std::move(*runner_->seat(trial, 1)));
  }
  std::vector<TrialEvent> next() { return runner_->poll(clock_.now() + std::chrono::seconds(30)); }
  /// All events until one says that the launch is over.
  std::vector<TrialEvent> until_ended() {
    std::vector<TrialEvent> all;
    while (all.empty() || all.back().kind != TrialEvent::Kind::ended) {
      const auto events = next();
      if (events.empty()) {
        ADD_FAILURE() << "no event in 30 s";
        return {TrialEvent{}};
      }
      all.insert(all.end(), events.begin(), events.end());
    }
    return all;
  }
  /// Polls until all slots are free again.
  void until_idle() {
    for (int i = 0; i < 300 && runner_->slots().leased() > 0; ++i) {
      runner_->poll(clock_.now() + std::chrono::milliseconds(100));
    }
    EXPECT_EQ(runner_->slots().leased(), 0U);
  }
  std::string file(const std::string& name) { return read_file(root_ / "trials" / "0001" / name); }

  Path root_;
  ProgramTrialPlan plan_;
  Machine machine_;
  SystemClock clock_;
  hpo::Space space_;
  std::unique_ptr<LocalPrograms> source_;
  std::unique_ptr<WorkerRunner> runner_;
};

TEST_F(ProgramTrials, ATrialSeesAsManyCardsAsItTakesAndNoneTwice) {
  machine_ = {{0}, {"4", "5", "6"}};
  const std::string script = "echo cards=$CUDA_VISIBLE_DEVICES=$SM_NUM_GPUS; echo acc=1";
  const std::vector<std::tuple<std::optional<int>, int, std::string>> cases{
      {std::nullopt, 1, "cards=4=1\n"},
      {2, 1, "cards=4,5=2\n"},
      {0, 1, "cards==0\n"},
      {3, 2, "cards=4,5,6=3\n"},
      {std::nullopt, 4, "cards=4,5,6=3\n"}};
  for (const auto& [gpus, ranks, line] : cases) {
    plan_.gpus = gpus;
    plan_.ranks = ranks;
    make_runner(script);
    start();
    EXPECT_EQ(until_ended().back().state, TrialState::complete);
    EXPECT_THAT(file("log/rank-0.log"), testing::StartsWith(line));
    std::filesystem::remove_all(root_ / "trials");
  }
}

TEST_F(ProgramTrials, TwoTrialsTakeCardsOfTheirOwn) {
  machine_ = {{0}, {"4", "5", "6", "7"}};
  plan_.gpus = 2;
  make_runner(
      "echo cards=$CUDA_VISIBLE_DEVICES; echo acc=1; while [ ! -e go ]; do sleep 0.01; done");
  start(1);
  start(2);
  while (next().empty()) {
  }
  write_file_atomically(root_ / "go", "");
  until_ended();
  until_idle();
  EXPECT_THAT(file("log/rank-0.log"), testing::StartsWith("cards=4,5\n"));
  EXPECT_THAT(read_file(root_ / "trials" / "0002" / "log" / "rank-0.log"),
              testing::StartsWith("cards=6,7\n"));
}

TEST_F(ProgramTrials, MoreCardsThanThereAreAreRefusedBeforeTheFirstTrial) {
  machine_ = {{0}, {"0", "1"}};
  plan_.gpus = 4;
  EXPECT_THROW(make_runner("echo acc=1"), Error);
  plan_.gpus.reset();
  plan_.ranks = 3;
  make_runner("echo acc=1");  // a program's ranks may share them
  plan_.is_job = true;
  EXPECT_THROW(make_runner("echo acc=1"), Error);
}

TEST_F(ProgramTrials, ReportsWhatTheProgramPrintsAndItsEnd) {
  make_runner("echo \"$@\"; echo loss=2; echo acc=0.5; echo acc=0.75");
  start();
  const auto events = until_ended();
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(events[0].value, 0.5);
  EXPECT_EQ(events[0].resource, 1);
  EXPECT_EQ(events[0].metrics, (hpo::Metrics{{"loss", 2}}));
  EXPECT_EQ(events[1].resource, 2);
  EXPECT_EQ(events[2].state, TrialState::complete);
  EXPECT_EQ(events[2].value, 0.75);
  EXPECT_EQ(file("log/rank-0.log"), "--kind cnn --lr 0.25\nloss=2\nacc=0.5\nacc=0.75\n");
  EXPECT_EQ(runner_->slots().free(), 2U);
}

TEST_F(ProgramTrials, ReadsTheFileOfMetricsAndGivesTheDirectories) {
  make_runner(
      R"(echo '{"step":7,"acc":0.5}' >> "$MUSTER_METRICS"; echo w > "$SM_MODEL_DIR/weights"; echo "$SM_HP_LR")");
  start();
  const auto events = until_ended();
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0].resource, 7);
  EXPECT_EQ(file("model/weights"), "w\n");
  EXPECT_EQ(file("log/rank-0.log"), "0.25\n");
}

TEST_F(ProgramTrials, TellsHowFarToRunAndReportsWhenTheProgramHasEnded) {
  plan_.resource_argument = "epochs";
  make_runner(R"(while [ "$1" != --epochs ]; do shift; done
    done=$(cat "$MUSTER_CHECKPOINT_DIR/done" 2>/dev/null || echo 0)
    while [ $done -lt $2 ]; do done=$((done + 1)); echo "{\"epochs\":$done,\"acc\":0.$done}" >> "$MUSTER_METRICS"; done
    echo $done > "$MUSTER_CHECKPOINT_DIR/done")");
  start(1, 3);
  std::vector<TrialEvent> events;
  while (events.empty() || events.back().resource != 3) {
    const auto more = next();
    ASSERT_FALSE(more.empty());
    events.insert(events.end(), more.begin(), more.end());
  }
  EXPECT_EQ(file("checkpoints/done"), "3\n")
      << "the value at the target comes after the checkpoint";
  EXPECT_EQ(events.size(), 3U);
  EXPECT_EQ(runner_->slots().leased(), 1U);
  runner_->answer(1, {.decision = Decision::keep_going, .to = 5});
  events.clear();
  while (events.empty() || events.back().resource != 5) {
    const auto more = next();
    ASSERT_FALSE(more.empty());
    events.insert(events.end(), more.begin(), more.end());
  }
  EXPECT_EQ(events.size(), 2U);
  EXPECT_EQ(events.back().value, 0.5);
  runner_->answer(1, {.decision = Decision::pause});
  until_idle();
}

TEST_F(ProgramTrials, WhatWasWrittenButNotHeardBeforeAKillIsReportedByTheNextLaunch) {
  plan_.resource_argument = "epochs";
  make_runner("true");  // its checkpoint is complete: it has nothing left to do
  posix_file_system().make_directory(root_ / "trials" / "0001");
  write_file_atomically(root_ / "trials" / "0001" / "metrics.jsonl",
                        "{\"epochs\":1,\"acc\":0.1}\n{\"epochs\":3,\"acc\":0.3}\n");
  start(1, 3);
  std::vector<TrialEvent> events;
  while (events.empty() || events.back().resource != 3) {
    const auto more = next();
    ASSERT_FALSE(more.empty());
    events.insert(events.end(), more.begin(), more.end());
  }
  EXPECT_EQ(events.back().value, 0.3);
  runner_->answer(1, {.decision = Decision::keep_going, .to = 9});
  EXPECT_THAT(until_ended().back().reason, HasSubstr("ended without a value of acc"));
}

TEST_F(ProgramTrials, ACrashIsAFailureWithItsLastWords) {
  make_runner("echo acc=0.5; echo 'ValueError: no such layer' >&2; exit 3");
  start();
  const auto events = until_ended();
  EXPECT_EQ(events.back().state, TrialState::failed);
  EXPECT_THAT(events.back().reason, HasSubstr("exited with 3: ValueError: no such layer"));
  EXPECT_EQ(file("failure"), events.back().reason + "\n");
}

TEST_F(ProgramTrials, WhatTheProgramWritesToFailureIsTheReason) {
  make_runner("echo 'out of data' > \"$SM_OUTPUT_FAILURE\"; exit 1");
  start();
  EXPECT_EQ(until_ended().back().reason, "out of data");
}

/// `muster train` in the trial's directory, which gets --runs and --name last.
TEST_F(ProgramTrials, WhatAJobWritesToFailureIsTheReasonAndStays) {
  plan_.is_job = true;
  make_runner(
      "printf 'rank 1: reading: no file\\n\\nWhat to do: look.\\n' > trials/0001/failure; "
      "echo 'What to do: correct the configuration' >&2; exit 64");
  start();
  EXPECT_EQ(until_ended().back().reason, "rank 1: reading: no file");
  EXPECT_EQ(file("failure"), "rank 1: reading: no file\n\nWhat to do: look.\n");
}

TEST_F(ProgramTrials, WhatAJobHadOvercomeBeforeItWasKilledIsNotTheReason) {
  plan_.is_job = true;
  make_runner("echo 'rank 1: reading: no file' > trials/0001/failure; kill -SEGV $$");
  start();
  const auto reason = until_ended().back().reason;
  EXPECT_THAT(reason, HasSubstr("SIGSEGV"));
  EXPECT_EQ(file("failure"), reason + "\n");
}

TEST_F(ProgramTrials, AMetricThatNeverComesIsAFailureWithASentence) {
  make_runner("echo accuracy: 0.5");
  start();
  const auto events = until_ended();
  EXPECT_EQ(events.back().state, TrialState::failed);
  EXPECT_THAT(events.back().reason,
              HasSubstr("ended without a value of acc: metric acc: no line of the output matched"));
}

TEST_F(ProgramTrials, NotANumberIsReportedAsOne) {
  make_runner("echo acc=nan");
  start();
  EXPECT_TRUE(std::isnan(*until_ended().front().value));
}

TEST_F(ProgramTrials, AProgramThatIgnoresTermIsKilledAndItsLaterWordsAreNobodys) {
  make_runner("trap 'echo acc=0.9' TERM; echo acc=0.5; while :; do sleep 0.05; done");
  start();
  ASSERT_EQ(next().front().value, 0.5);
  runner_->answer(1, {.decision = Decision::stop});
  std::vector<TrialEvent> events;
  for (int i = 0; i < 300 && runner_->slots().leased() > 0; ++i) {
    const auto more = runner_->poll(clock_.now() + std::chrono::milliseconds(100));
    events.insert(events.end(), more.begin(), more.end());
  }
  EXPECT_EQ(runner_->slots().leased(), 0U);
  EXPECT_TRUE(events.empty());
  EXPECT_THAT(file("log/rank-0.log"), HasSubstr("acc=0.9"));
}

TEST_F(ProgramTrials, WhatATrialForkedDiesWithIt) {
  make_runner("setsid sleep 1000 & echo $! > child; echo acc=1");
  start();
  until_ended();
  const auto child = parse_int(trim(read_file(root_ / "child")));
  ASSERT_TRUE(child);
  for (int i = 0; i < 300 && ::kill(static_cast<pid_t>(*child), 0) == 0; ++i) {
    runner_->poll(clock_.now() + std::chrono::milliseconds(10));
  }
  EXPECT_NE(::kill(static_cast<pid_t>(*child), 0), 0);
}

TEST_F(ProgramTrials, MoreMemoryThanItMayIsItsFailure) {
  for (const bool uses_groups : {true, false}) {  // control groups, where they can be made, or not
    plan_.memory = 60'000'000;
    plan_.uses_groups = uses_groups;
    make_runner("head -c 300000000 /dev/zero | tail -c 299999999 > /dev/null");
    start();
    const auto last = until_ended().back();
    EXPECT_EQ(last.state, TrialState::failed);
    if (uses_groups && own_memory_group()) {
      EXPECT_EQ(last.reason, "used more than trial.memory = 60.0 MB");
    } else {  // either the watch was faster, or its own limit
      EXPECT_THAT(last.reason, testing::AnyOf(HasSubstr("used more than trial.memory"),
                                              HasSubstr("memory exhausted")));
    }
    until_idle();
  }
}

TEST_F(ProgramTrials, ACapLeavesNothingBehind) {
  const auto group = own_memory_group();
  plan_.memory = 60'000'000;
  make_runner("echo acc=1");
  start();
  EXPECT_EQ(until_ended().back().state, TrialState::complete);
  until_idle();
  for (const auto& name :
       group ? posix_file_system().list(group->directory) : std::vector<std::string>{}) {
    EXPECT_FALSE(name.starts_with("muster-s-0001-" + std::to_string(::getpid()))) << name;
  }
}

TEST_F(ProgramTrials, NoMemoryLeftMakesRoomAndTheTrialComesAgain) {
  make_runner("if mkdir second 2>/dev/null; then echo MemoryError >&2; exit 1; fi; echo acc=1", 3);
  start(1);
  start(2);
  std::map<TrialState, int> ends;
  for (int i = 0; i < 100 && ends.size() < 2; ++i) {
    for (const auto& event : next()) {
      if (event.kind == TrialEvent::Kind::ended) {
        ++ends[event.state];
      }
    }
  }
  EXPECT_EQ(ends[TrialState::evicted], 1);
  EXPECT_EQ(ends[TrialState::complete], 1);
  EXPECT_LT(runner_->slots().count(), 3U) << "fewer at once";
}

TEST_F(ProgramTrials, WhatDoesNotFitEvenAloneHasFailedAtTheThirdTime) {
  make_runner("echo MemoryError >&2; exit 1", 1);
  for (int time = 1; time <= 3; ++time) {
    start();
    const auto last = until_ended().back();
    EXPECT_EQ(last.state, time < 3 ? TrialState::evicted : TrialState::failed);
    EXPECT_EQ(last.reason.starts_with("does not fit into memory, even alone"), time == 3);
  }
}

TEST_F(ProgramTrials, ATrialThatHangsEndsAtItsTimeout) {
  plan_.timeout = 0.3;
  make_runner("sleep 1000");
  start();
  const auto last = until_ended().back();
  EXPECT_EQ(last.state, TrialState::failed);
  EXPECT_EQ(last.reason, "ran longer than trial.timeout = 300 ms");
}

TEST_F(ProgramTrials, SuspendedTrialsAreSavedAndPreempted) {
  plan_.grace = 20;
  make_runner(
      "trap 'echo saved > state; exit 75' TERM; echo acc=0.5; while :; do sleep 0.05; done");
  start();
  next();
  runner_->suspend();
  const auto last = until_ended().back();
  EXPECT_EQ(last.state, TrialState::preempted);
  EXPECT_EQ(read_file(root_ / "state"), "saved\n");
  until_idle();
}

TEST_F(ProgramTrials, RanksOfOneTrialFindEachOther) {
  plan_.ranks = 2;
  make_runner(
      "echo \"$RANK of $WORLD_SIZE at $MASTER_ADDR\" > rank-$RANK; test $RANK = 0 && echo acc=1; "
      "exit 0");
  start();
  EXPECT_EQ(until_ended().back().state, TrialState::complete);
  EXPECT_EQ(read_file(root_ / "rank-1"), "1 of 2 at 127.0.0.1\n");
}

TEST_F(ProgramTrials, OneRankThatFailsEndsTheOthers) {
  plan_.ranks = 2;
  make_runner("test $RANK = 1 && exit 4; sleep 1000");
  start();
  const auto last = until_ended().back();
  EXPECT_EQ(last.state, TrialState::failed);
  EXPECT_EQ(runner_->slots().free(), 2U);
}

TEST_F(ProgramTrials, WhatCannotStartIsAFailureAndTheRunnerGoesOn) {
  plan_.channels = {{.name = "train", .path = "/nowhere", .content_type = ""}};
  make_runner("true");
  start();
  EXPECT_EQ(until_ended().back().reason,
            "trial.data.train = /nowhere: there is no such file or directory");
  plan_.channels.clear();
  plan_.command = {"/no/such/program"};
  open(1);
  start();
  EXPECT_THAT(until_ended().back().reason,
              HasSubstr("/no/such/program could not be started: No such file or directory"));
}

TEST_F(ProgramTrials, AScriptWithOptMlBuiltInFindsItsTreeThere) {
  if (const auto problem = opt_ml_problem()) {
    GTEST_SKIP() << *problem;
  }
  write_file_atomically(root_ / "old.sh",
                        "cat /opt/ml/input/config/hyperparameters.json\n"
                        "echo weights > /opt/ml/model/w\necho acc=1\n");
  plan_.command = {"/bin/sh", "old.sh"};
  open(1);
  start();
  EXPECT_EQ(until_ended().back().state, TrialState::complete);
  EXPECT_THAT(file("log/rank-0.log"), HasSubstr("\"lr\":\"0.25\""));
  EXPECT_EQ(file("model/w"), "weights\n");
}

TEST_F(ProgramTrials, AFullDiskEndsTheTrialThatFilledItWithItsOwnWords) {
  make_runner("echo acc=0.5; head -c 9 /dev/zero > /dev/full");
  start();
  const auto last = until_ended().back();
  EXPECT_EQ(last.state, TrialState::failed);
  EXPECT_THAT(last.reason, HasSubstr("No space left on device"));
}

TEST_F(ProgramTrials, WakeEndsAWait) {
  make_runner("true");
  runner_->wake();
  EXPECT_TRUE(runner_->poll(clock_.now() + std::chrono::hours(1)).empty());
}

}  // namespace
}  // namespace muster
