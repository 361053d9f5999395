// SPDX-License-Identifier: Apache-2.0
#include "launcher/engine/process.h"

#include <gmock/gmock.h>
#include <sys/wait.h>

#include <csignal>
#include <filesystem>

#include "launcher/engine/keeper.h"
#include "launcher/engine/line_reader.h"
#include "tests/launcher/programs.h"

namespace muster {
namespace {

using test::alive;
using test::eventually;

ProcessSpec shell(const std::string& script) {
  return {.command = {"/bin/sh", "-c", script}, .environment = {{"PATH", "/bin:/usr/bin"}}};
}

Ended ended(Process& process) {
  const auto end = process.wait_for(30'000);
  EXPECT_TRUE(end.has_value()) << "still running after 30 s";
  return end.value_or(Ended{});
}

/// The pids that a script wrote, one a line, once there are `count`.
std::vector<pid_t> pids_in(const Path& file, std::size_t count) {
  std::vector<pid_t> pids;
  eventually([&] {
    pids.clear();
    std::string word;
    for (const char c : read_file_if_there(file).value_or("")) {
      if (c == '\n') {
        pids.push_back(std::stoi(word));
        word.clear();
      } else {
        word += c;
      }
    }
    return pids.size() >= count;
  });
  return pids;
}

TEST(Process, TellsHowItEnded) {
  Process seven = Process::start(shell("exit 7"));
  EXPECT_EQ(ended(seven).text(), "exited with 7");
  Process killed = Process::start(shell("kill -SEGV $$"));
  EXPECT_EQ(ended(killed).text(), "was killed by SIGSEGV");
  Process fine = Process::start(shell("exit 0"));
  EXPECT_TRUE(ended(fine).finished());
}

TEST(Process, ALauncherIsAskedBeforeItIsKilled) {
  const test::TemporaryDirectory directory;
  const auto said = (directory.path() / "said").string();
  const auto start = [&](const std::string& on_term) {
    auto spec = shell("trap '" + on_term + "' TERM; echo $$ > " + said +
                      ".pid; while true; do sleep 0.01; done");
    spec.ask_first_ms = 1000;
    std::filesystem::remove(said + ".pid");  // of the one before
    Process process = Process::start(spec);
    pids_in(said + ".pid", 1);
    return process;
  };
  Process polite = start("echo leaving > " + said + "; exit 5");
  polite.kill_tree();
  EXPECT_EQ(ended(polite).code(), 5);
  EXPECT_EQ(read_file(said), "leaving\n");
  Process deaf = start("");
  deaf.kill_tree();
  EXPECT_EQ(ended(deaf).signal(), SIGKILL);
}

TEST(Process, SaysThatAProgramIsMissing) {
  Process missing = Process::start({.command = {"no-such-program-at-all"}});
  EXPECT_EQ(ended(missing).text(), "could not be started: No such file or directory");
  Process nowhere = Process::start({.command = {"/bin/true"}, .directory = "/no/such/directory"});
  EXPECT_EQ(ended(nowhere).text(), "could not be started: No such file or directory");
}

TEST(Process, HasNothingButWhatItIsGiven) {
  Pipe pipe = output_pipe();
  auto spec = shell("ls -l /proc/self/fd | wc -l; echo $ONLY; grep SigBlk /proc/self/status");
  spec.environment["ONLY"] = "this";
  spec.output = pipe.theirs.get();
  Process process = Process::start(spec);
  pipe.theirs.reset();
  ended(process);
  LineReader reader(std::move(pipe.ours));
  std::vector<std::string> lines;
  reader.read(lines);
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_EQ(lines[0], "5");  // "total", 0, 1, 2, and the directory itself
  EXPECT_EQ(lines[1], "this");
  EXPECT_THAT(lines[2], testing::HasSubstr("0000000000000000"));
}

TEST(Process, PassesSignalsToTheWholeGroup) {
  Process process = Process::start(shell("trap 'exit 3' TERM; while true; do sleep 0.05; done"));
  eventually([&] {  // the trap is set once SIGTERM shows among the caught signals
    const auto status =
        read_file_if_there("/proc/" + std::to_string(process.pid()) + "/status").value_or("");
    const auto at = status.find("SigCgt:");
    return at != std::string::npos &&
           (std::stoull(status.substr(at + 7), nullptr, 16) & (1ULL << (SIGTERM - 1))) != 0;
  });
  process.signal(SIGTERM);
  EXPECT_EQ(ended(process).code(), 3);
}

TEST(Process, LeavesNothingBehindWhenTheProgramEnds) {
  const test::TemporaryDirectory directory;
  const auto file = directory.path() / "pids";
  Process process =
      Process::start(shell("(trap '' TERM; sleep 1000) & echo $! >> " + file.string() +
                           "; setsid sleep 1000 & echo $! >> " + file.string() + "; exit 0"));
  ended(process);
  for (const pid_t pid : pids_in(file, 2)) {
    EXPECT_FALSE(alive(pid)) << pid;
  }
}

TEST(Process, EndsWithItsOwner) {
  const test::TemporaryDirectory directory;
  const auto file = directory.path() / "pids";
  pid_t child = 0;
  {
    Process process =
        Process::start(shell("setsid sleep 1000 & echo $! >> " + file.string() + "; wait"));
    child = process.pid();
    ASSERT_EQ(pids_in(file, 1).size(), 1U);
  }
  EXPECT_FALSE(alive(child));
  EXPECT_FALSE(alive(pids_in(file, 1).at(0)));
}

/// An owner in a process of its own, which is then killed like a careless user would.
TEST(Process, SurvivesNeitherTheKillingOfItsOwnerNorOfItsKeeper) {
  for (const bool kill_keeper : {false, true}) {
    const test::TemporaryDirectory directory;
    const auto file = directory.path() / "pids";
    const pid_t owner = ::fork();
    if (owner == 0) {
      Process process = Process::start(shell("setsid sleep 1000 & echo $! >> " + file.string() +
                                             "; echo $$ >> " + file.string() + "; sleep 1000"));
      process.wait_for(600'000);
      ::_exit(0);
    }
    const auto pids = pids_in(file, 2);
    ASSERT_EQ(pids.size(), 2U);
    const auto children = keeper::children_of(owner);
    ASSERT_EQ(children.size(), 1U);
    ::kill(kill_keeper ? children.front() : owner, SIGKILL);
    for (const pid_t pid : pids) {
      EXPECT_TRUE(eventually([pid] { return !alive(pid); }))
          << pid << (kill_keeper ? " after its keeper" : " after its owner");
    }
    ::waitpid(owner, nullptr, 0);
  }
}

TEST(Process, StartsHundredsWithoutLosingOne) {
  std::vector<Process> processes;
  for (int i = 0; i < 200; ++i) {
    processes.push_back(Process::start(shell("exit " + std::to_string(i % 100))));
  }
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(ended(processes[static_cast<std::size_t>(i)]).code(), i % 100);
  }
}

}  // namespace
}  // namespace muster
