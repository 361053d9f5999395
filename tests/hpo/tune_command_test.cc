// muster tune and muster ask-tell as users run them: real processes, a shell script as the trial.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <string>
#include <thread>

#include "runtime/base/file_system.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

constexpr const char* script =
    "while [ $# -gt 0 ]; do case $1 in --depth) depth=$2;; esac; shift; done\n"
    "[ -n \"$SLOW\" ] && sleep 20\n"
    "echo \"loss=$depth.5\"\n";

constexpr const char* sweep =
    "name = quick\n[tune]\nobjective = min loss\nstrategy = random\nmax_trials = 6\nparallel = 2\n"
    "[search]\ndepth = int 1 8\n[trial]\ncommand = sh trial.sh\nmetric.loss = loss=([0-9.]+)\n";

class TuneCommand : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = testing::TempDir() + "tune_" + std::to_string(::getpid()) + "_" +
                 testing::UnitTest::GetInstance()->current_test_info()->name();
    posix_file_system().make_directory(directory_);
    write_file_atomically(directory_ / "trial.sh", script);
    write_file_atomically(directory_ / "sweep.ini", sweep);
  }
  void TearDown() override { posix_file_system().remove(directory_); }

  int run(const std::string& words, const std::string& environment = "") {
    const std::string program = std::getenv("MUSTER_PROGRAM");
    const std::string command = "cd " + directory_.string() + " && " + environment + " " + program +
                                " " + words + " >out 2>err";
    const int status = std::system(command.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  pid_t start(const std::string& words) {
    const pid_t child = ::fork();
    if (child == 0) {
      const std::string program = std::getenv("MUSTER_PROGRAM");
      ::setenv("SLOW", "1", 1);
      const std::string command =
          "cd " + directory_.string() + " && exec " + program + " " + words + " >out 2>err";
      ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
      ::_exit(127);
    }
    return child;
  }
  /// Until a trial has its directory: the sweep runs.
  void wait_for_a_trial() {
    for (int i = 0;
         i < 3000 && !posix_file_system().exists(directory_ / "sweeps/quick/trials/0001"); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
  static int end_of(pid_t child) {
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  std::string text(const std::string& name) const { return read_file(directory_ / name); }

  Path directory_;
};

TEST_F(TuneCommand, ASweepOfAScriptRunsToItsEndAndSaysSoAgain) {
  ASSERT_EQ(run("tune sweep.ini"), 0) << text("err");
  EXPECT_NE(text("out").find("quick: 6 trials, over"), std::string::npos);
  EXPECT_NE(text("out").find("depth = "), std::string::npos);
  EXPECT_TRUE(posix_file_system().exists(directory_ / "sweeps/quick/report.html"));
  const std::string first = text("out");
  ASSERT_EQ(run("tune sweep.ini"), 0);
  EXPECT_EQ(text("out"), first);
  ASSERT_EQ(run("tune sweep.ini --tune.max_trials 8"), 0);
  EXPECT_NE(text("out").find("quick: 8 trials"), std::string::npos);
}

TEST_F(TuneCommand, AnAskedSweepIsShownAndLearnedFrom) {
  const std::string asked =
      "[tune]\nobjective = min loss\nmax_trials = 2\nstart = x=0.25\n[search]\nx = linear 0 1\n";
  write_file_atomically(directory_ / "one.ini", asked);
  write_file_atomically(directory_ / "two.ini", "[tune]\nwarm_start = one\n" + asked.substr(7));
  write_file_atomically(directory_ / "requests", R"({"op":"ask"})"
                                                 "\n"
                                                 R"({"op":"tell","trial":1,"value":0.5})"
                                                 "\n");
  ASSERT_EQ(run("ask-tell one.ini --seed 7 <requests"), 0) << text("err");
  EXPECT_NE(text("out").find(R"("params":{"x":0.25})"), std::string::npos) << text("out");
  ASSERT_EQ(run("show one --json"), 0) << text("err");
  EXPECT_NE(text("out").find(R"("value":0.5)"), std::string::npos) << text("out");
  write_file_atomically(directory_ / "requests", R"({"op":"best"})");
  ASSERT_EQ(run("ask-tell two.ini <requests"), 0) << text("err");
  EXPECT_NE(text("out").find(R"("value":0.5)"), std::string::npos) << text("out");
  ASSERT_EQ(run("ask-tell two.ini <requests"), 0) << "its parent's row must not count twice";
  ASSERT_EQ(run("show two --csv"), 0) << text("err");
  EXPECT_EQ(split(text("out"), '\n').size(), 4U) << text("out");  // a head, the start, the row
}

TEST_F(TuneCommand, AnotherSpaceUnderTheSameNameIsRefused) {
  ASSERT_EQ(run("tune sweep.ini"), 0) << text("err");
  EXPECT_EQ(run("tune sweep.ini --tune.seed 9"), 64);
  EXPECT_NE(text("err").find("another name"), std::string::npos);
}

TEST_F(TuneCommand, AnAskedSweepKeepsItsFileWhereAnotherSpaceIsRefused) {
  const std::string asked = "[tune]\nobjective = min loss\n[search]\nx = linear 0 1\ny = int 1 ";
  write_file_atomically(directory_ / "one.ini", asked + "4\n");
  write_file_atomically(directory_ / "two.ini", asked + "5\n");
  ASSERT_EQ(run("ask-tell one.ini </dev/null"), 0) << text("err");
  const std::string kept = text("sweeps/one/sweep.ini");
  EXPECT_EQ(run("ask-tell two.ini --name one </dev/null"), 64);
  EXPECT_NE(text("err").find("there: y = int linear 1 4\n"), std::string::npos) << text("err");
  EXPECT_NE(text("err").find("here:  y = int linear 1 5\n"), std::string::npos) << text("err");
  EXPECT_EQ(text("err").find("x ="), std::string::npos) << text("err");
  EXPECT_NE(text("err").find("--name NEW"), std::string::npos) << text("err");
  EXPECT_EQ(text("sweeps/one/sweep.ini"), kept);
}

TEST_F(TuneCommand, TermSavesTheSweepAndTheSameCommandGoesOn) {
  const pid_t child = start("tune sweep.ini");
  wait_for_a_trial();
  ::kill(child, SIGTERM);
  const int code = end_of(child);
  EXPECT_EQ(code, 75) << text("err");
  ASSERT_EQ(run("tune sweep.ini"), 0) << text("err");
  EXPECT_NE(text("out").find("quick: 6 trials, over"), std::string::npos);
}

TEST_F(TuneCommand, ASecondOwnerIsRefusedAndAKilledOneIsFollowed) {
  const pid_t child = start("tune sweep.ini");
  wait_for_a_trial();
  EXPECT_EQ(run("ask-tell sweep.ini --dir sweeps/quick < /dev/null"), 64);
  EXPECT_EQ(run("tune sweep.ini"), 64);
  EXPECT_NE(text("err").find("in use by pid"), std::string::npos);
  ::kill(child, SIGKILL);
  end_of(child);
  ASSERT_EQ(run("tune sweep.ini"), 0) << text("err");
  EXPECT_NE(text("out").find("quick: 6 trials, over"), std::string::npos);
}

TEST_F(TuneCommand, ForbidAndStartShowTheirLineAndPointAtTheWord) {
  const std::string whole = text("sweep.ini") + "[tune]\n";
  write_file_atomically(directory_ / "forbid.ini", whole + "forbid = y == 1\n");
  const auto lines = std::to_string(std::ranges::count(whole, '\n') + 1);
  EXPECT_EQ(run("tune forbid.ini"), 64);
  EXPECT_NE(text("err").find("forbid.ini:" + lines + ": 'y' is no key of [search]"),
            std::string::npos)
      << text("err");
  EXPECT_NE(text("err").find("\n  forbid = y == 1\n           ^"), std::string::npos)
      << text("err");
  write_file_atomically(directory_ / "start.ini", whole + "start = y=1\n");
  EXPECT_EQ(run("tune start.ini"), 64);
  EXPECT_NE(text("err").find("start.ini:" + lines + ": 'y' is no key of [search]"),
            std::string::npos)
      << text("err");
  EXPECT_EQ(run("tune sweep.ini --tune.forbid 'y == 1'"), 64);
  EXPECT_NE(text("err").find("the command line: 'y' is no key of [search]"), std::string::npos)
      << text("err");
}

TEST_F(TuneCommand, BadCommandLinesExit64WithASentence) {
  EXPECT_EQ(run("tune"), 64);
  EXPECT_EQ(run("tune missing.ini"), 64);
  EXPECT_EQ(run("tune sweep.ini --tune.strategy pbt"), 64);
  EXPECT_NE(text("err").find("population-based training is not built"), std::string::npos);
  EXPECT_EQ(run("tune sweep.ini --tune.max_resource 9 --tune.scheduler asha --tune.brackets 7"),
            64);
  EXPECT_NE(text("err").find("tune.brackets = 7 is more than there are"), std::string::npos);
  EXPECT_EQ(run("tune sweep.ini --tune.objective 'max a, min b'"), 64);
  EXPECT_EQ(run("ask-tell"), 64);
  write_file_atomically(directory_ / "empty.ini", "[tune]\nobjective = min loss\n");
  EXPECT_EQ(run("ask-tell empty.ini </dev/null"), 64);
  EXPECT_NE(text("err").find("[search] is missing"), std::string::npos) << text("err");
}

}  // namespace
}  // namespace muster
