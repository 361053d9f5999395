// The real muster-rank under `muster train`, started by each engine of this machine, and what
// happens when a rank, its launcher or `muster` itself is killed or stopped. tests/slurm does the
// same by srun. SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <csignal>
#include <cstdlib>

#include "launcher/engine/owner_lock.h"
#include "tests/launcher/real_job.h"

namespace muster::test {
namespace {

using testing::HasSubstr;

std::vector<pid_t> of_this(const Workshop& shop, const std::string& word) {
  std::vector<pid_t> pids;
  for (const pid_t pid : processes_with(word)) {
    try {
      if (read_file("/proc/" + std::to_string(pid) + "/cmdline").find(shop.path().string()) !=
          std::string::npos) {
        pids.push_back(pid);
      }
    } catch (const std::exception&) {  // it ended while we looked
    }
  }
  return pids;
}

/// The ranks themselves: their first word is muster-rank.
std::vector<pid_t> ranks_of(const Workshop& shop) {
  auto pids = of_this(shop, "muster-rank");
  std::erase_if(pids, [](pid_t pid) {
    std::error_code code;
    const auto program = std::filesystem::read_symlink(fmt::format("/proc/{}/exe", pid), code);
    return program.filename() != "muster-rank";
  });
  return pids;
}

class RealRanks : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (!has_muster_rank()) {
      GTEST_SKIP() << "this build has no muster-rank";
    }
    if (GetParam() == "mpirun" && ::access("/usr/bin/mpirun", X_OK) != 0) {
      GTEST_SKIP() << "there is no mpirun here";
    }
    write_paced_job(shop_.path() / "job.ini", 40);
    ::setenv("PACED_MODEL_MS", "5", 1);
  }
  Running train(std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"train", "job.ini", "--engine=" + GetParam()});
    return shop_.start(std::move(more));
  }
  /// Trained by this machine's engine, with nobody to disturb it.
  void expect_undisturbed_model() {
    ::unsetenv("PACED_MODEL_MS");
    auto other = shop_.start({"train", "job.ini", "--engine=local", "--name=undisturbed"});
    EXPECT_EQ(other.wait(300), 0) << other.output();
    expect_same_model(shop_.run() / "model", shop_.run("undisturbed") / "model");
  }
  bool saved() {
    return eventually([&] { return shop_.status().value("checkpoint_step", 0) >= 40; }, 120);
  }
  void expect_nobody_left() {
    const auto before = std::chrono::steady_clock::now();
    EXPECT_TRUE(eventually([&] { return ranks_of(shop_).empty(); }))
        << ranks_of(shop_).size() << " ranks live on";
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - before;
    fmt::print("no rank was left after {:.2f} s\n", took.count());
  }
  Workshop shop_;
};

TEST_P(RealRanks, ARankThatIsKilledIsNamedAndTheJobEndsWithTheSameBits) {
  auto muster = train();
  ASSERT_TRUE(saved()) << muster.output();
  const auto ranks = ranks_of(shop_);
  ASSERT_EQ(ranks.size(), 2U);
  ::kill(ranks.back(), SIGKILL);
  EXPECT_EQ(muster.wait(300), 0) << muster.output();
  EXPECT_THAT(muster.output(), HasSubstr("was killed by SIGKILL"));
  EXPECT_THAT(muster.output(), HasSubstr("starting again from the checkpoint of step"));
  EXPECT_EQ(shop_.status()["restarts"], 1);
  expect_undisturbed_model();
}

TEST_P(RealRanks, ARankThatCrashesLeavesItsSignalBackTraceStepAndCollective) {
  auto muster = train({"--restarts_per_hour=0"});
  ASSERT_TRUE(saved()) << muster.output();
  const auto ranks = ranks_of(shop_);
  ASSERT_EQ(ranks.size(), 2U);
  ::kill(ranks.back(), SIGSEGV);
  EXPECT_EQ(muster.wait(120), 1) << muster.output();
  const auto record = shop_.file("failure");
  EXPECT_THAT(record, testing::ContainsRegex("rank [01] on " + this_host() +
                                             ": crashed with SIGSEGV.*, at step [0-9]+, last "
                                             "operation [a-z]+"));
  EXPECT_THAT(record, HasSubstr("(1 more rank failed in consequence)"));
  EXPECT_THAT(record, HasSubstr("back-trace:\n"));
  EXPECT_THAT(record, HasSubstr("(muster-rank)"));
  const bool told_already = record.starts_with("rank 0");  // rank 0 writes to the console itself
  EXPECT_EQ(muster.output().find("\nThe last lines of rank 1:\n") == std::string::npos,
            told_already)
      << muster.output();
}

TEST_P(RealRanks, ARankThatIsStoppedIsNamedWithEveryStackAndTheJobGoesOn) {
  auto muster = train({"--hang_after=2"});
  ASSERT_TRUE(saved()) << muster.output();
  const auto ranks = ranks_of(shop_);
  ASSERT_EQ(ranks.size(), 2U);
  ::kill(ranks.back(), SIGSTOP);
  EXPECT_EQ(muster.wait(300), 0) << muster.output();
  EXPECT_THAT(muster.output(), HasSubstr(fmt::format("(pid {}) hangs: at step", ranks.back())));
  EXPECT_THAT(muster.output(), HasSubstr("somebody stopped it (SIGSTOP)"));
  EXPECT_EQ(shop_.status()["restarts"], 1);
  const bool one_file = GetParam() == "local";
  const auto stacks = shop_.file(one_file ? "log/stacks-1.txt" : "log/stacks-rank-0.txt") +
                      shop_.file("log/stacks-rank-1.txt");
  for (const pid_t rank : ranks) {
    EXPECT_THAT(stacks, HasSubstr(fmt::format("process {}:", rank)));
  }
}

TEST_P(RealRanks, KillingMusterLeavesNoRankAndTheSameCommandContinues) {
  auto muster = train();
  ASSERT_TRUE(saved()) << muster.output();
  ::kill(muster.process().pid(), SIGKILL);
  EXPECT_EQ(muster.wait(), -SIGKILL);
  expect_nobody_left();
  auto again = train();
  EXPECT_EQ(again.wait(300), 0) << again.output();
  EXPECT_THAT(again.output(), HasSubstr("resumed at step"));
  expect_undisturbed_model();
}

TEST_P(RealRanks, ContinueIsAHintToSaveAndGoOn) {
  auto muster = train({"--checkpoint.every_steps=1000000", "--train.epochs=4000"});
  ASSERT_TRUE(eventually([&] { return shop_.step() > 0; }, 120)) << muster.output();
  EXPECT_EQ(shop_.status()["checkpoint_step"], 0);
  muster.process().signal(SIGCONT);
  EXPECT_TRUE(eventually([&] { return shop_.status().value("checkpoint_step", 0) > 0; }, 120))
      << muster.output();
  EXPECT_FALSE(muster.process().poll());
  muster.process().signal(SIGTERM);
  EXPECT_EQ(muster.wait(120), 75) << muster.output();
}

TEST_P(RealRanks, ANoticeToRanksThatAreStillBeingLoadedIsHeededAndKillsNone) {
  auto muster = train();
  ASSERT_TRUE(eventually([&] { return !ranks_of(shop_).empty(); }, 60)) << muster.output();
  muster.process().signal(SIGTERM);
  EXPECT_EQ(muster.wait(120), 75) << muster.output();
  EXPECT_THAT(muster.output(), HasSubstr("job: saved at step"));
}

TEST_P(RealRanks, TermSavesAndTheSameCommandContinues) {
  auto muster = train();
  ASSERT_TRUE(saved()) << muster.output();
  muster.process().signal(SIGTERM);
  EXPECT_EQ(muster.wait(120), 75) << muster.output();
  const auto step = shop_.step();
  auto again = train();
  EXPECT_EQ(again.wait(300), 0) << again.output();
  EXPECT_THAT(again.output(), HasSubstr(fmt::format("resumed at step {}", step)));
  expect_undisturbed_model();
}

INSTANTIATE_TEST_SUITE_P(Engines, RealRanks, testing::Values("local", "mpirun"),
                         [](const auto& one) { return one.param; });

using Mpirun = RealRanks;

TEST_P(Mpirun, KillingItLeavesNoRankAndTheJobIsTakenUpAgain) {
  auto muster = train();
  ASSERT_TRUE(saved()) << muster.output();
  std::vector<pid_t> launchers;
  for (const pid_t pid : of_this(shop_, "-np")) {
    std::error_code code;
    if (std::filesystem::read_symlink(fmt::format("/proc/{}/exe", pid), code)
            .filename()
            .string()
            .starts_with("orterun")) {
      launchers.push_back(pid);
    }
  }
  ASSERT_EQ(launchers.size(), 1U);
  const auto ranks = ranks_of(shop_);
  ::kill(launchers.front(), SIGKILL);
  EXPECT_TRUE(eventually([&] { return std::ranges::none_of(ranks, alive); }));
  EXPECT_EQ(muster.wait(300), 0) << muster.output();
  EXPECT_EQ(shop_.status()["restarts"], 1);
  expect_undisturbed_model();
}

/// Whoever waits for a rank that hangs ends in time too, and that kills all attendants: here while
/// the one of the guilty rank still waits for stacks.
TEST_P(Mpirun, AHangIsNamedThoughItsAttendantIsKilledBeforeTheStacks) {
  const Path debugger = shop_.path() / "gdb";
  const std::string grandparent = "$(cut -d ' ' -f 4 /proc/$PPID/stat)";  // a keeper is between
  write_file_atomically(debugger, "#!/bin/sh\nkill -9 " + grandparent + "\n");
  std::filesystem::permissions(debugger, std::filesystem::perms::owner_all);
  const std::string path = std::getenv("PATH");
  ::setenv("PATH", (shop_.path().string() + ":" + path).c_str(), 1);
  auto muster = train({"--hang_after=2", "--restarts_per_hour=0"});
  ::setenv("PATH", path.c_str(), 1);
  ASSERT_TRUE(saved()) << muster.output();
  const auto ranks = ranks_of(shop_);
  ASSERT_EQ(ranks.size(), 2U);
  ::kill(ranks.front(), SIGSTOP);
  EXPECT_EQ(muster.wait(120), 1) << muster.output();
  EXPECT_THAT(muster.output(), HasSubstr(fmt::format("(pid {}) hangs: at step", ranks.front())));
  EXPECT_THAT(muster.output(), HasSubstr("somebody stopped it (SIGSTOP)"));
}

/// It has a minute to start in.
TEST_P(Mpirun, RanksThatNeverMeetAreNamedAndEnded) {
  const Path script = shop_.path() / "stuck.sh";
  write_file_atomically(script, "#!/bin/sh\nexec sleep 1000\n");
  std::filesystem::permissions(script, std::filesystem::perms::owner_all);
  auto muster =
      train({"--rank_program=" + script.string(), "--hang_after=1", "--restarts_per_hour=0"});
  EXPECT_EQ(muster.wait(200), 1) << muster.output();
  EXPECT_THAT(muster.output(),
              testing::ContainsRegex("rank [01] .pid [0-9]+. hangs: it has not met "
                                     "the other ranks .* after its start"));
  EXPECT_THAT(shop_.file("log/stacks-rank-0.txt"), HasSubstr("process "));
}

INSTANTIATE_TEST_SUITE_P(Engines, Mpirun, testing::Values("mpirun"),
                         [](const auto& one) { return one.param; });

}  // namespace
}  // namespace muster::test
