// SPDX-License-Identifier: Apache-2.0
#include "launcher/supervise/hang_watch.h"

#include <gmock/gmock.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <memory>

namespace muster {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

/// A job of `ranks` ranks, whose time passes when told.
struct Job {
  explicit Job(int ranks, std::chrono::milliseconds least = 30s,
               std::chrono::milliseconds precedence = {})
      : page(ControlPage::create(ranks)),
        watch(ranks, least, precedence),
        alive(static_cast<std::size_t>(ranks), true) {
    for (int rank = 0; rank < ranks; ++rank) {
      page.slot(rank).pid = ::getpid();
      page.slot(rank).global_rank = rank;
      page.slot(rank).phase = Phase::compute;
    }
  }
  void all_step() {
    for (int rank = 0; rank < page.slots(); ++rank) {
      ++page.slot(rank).step;
    }
  }
  /// Looks four times a second.
  std::optional<Hang> pass(std::chrono::milliseconds time) {
    std::optional<Hang> hang;
    for (auto done = 0ms; done < time && !hang; done += 250ms) {
      now += 250ms;
      hang = watch.tick(page, alive, now);
    }
    return hang;
  }
  ControlPage page;
  HangWatch watch;
  std::vector<bool> alive;
  Monotonic now{};
};

TEST(HangWatch, IsSilentWhileAnybodyMoves) {
  Job job(2);
  for (int i = 0; i < 200; ++i) {
    ++job.page.slot(1).step;
    EXPECT_FALSE(job.pass(1s).has_value());
  }
}

TEST(HangWatch, WhoWaitsIsNamedLaterWhereOtherHostsHaveTheFirstWord) {
  Job job(1, 3s, 2s);
  job.page.slot(0).phase = Phase::exchange;
  EXPECT_FALSE(job.pass(5s).has_value());
  EXPECT_TRUE(job.pass(1s).has_value());
  Job holds_up(1, 3s, 2s);
  EXPECT_TRUE(holds_up.pass(4s).has_value());
}

TEST(HangWatch, WhoComputesHoldsUpThoseWhoExchange) {
  Job job(3);
  job.page.slot(0).phase = job.page.slot(2).phase = Phase::exchange;
  const auto hang = job.pass(40s);
  ASSERT_TRUE(hang.has_value());
  EXPECT_EQ(hang->local_rank, 1);
}

TEST(HangWatch, NamesTheRankTheStepAndTheCollectiveItNeverEntered) {
  Job job(3);
  job.all_step();
  const FlightScope first(&job.page.slot(0), "all_reduce float32", 4096);
  const FlightScope third(&job.page.slot(2), "all_reduce float32", 4096);
  EXPECT_FALSE(job.pass(29s).has_value());
  const auto hang = job.pass(3s);
  ASSERT_TRUE(hang.has_value());
  EXPECT_EQ(hang->local_rank, 1);
  EXPECT_EQ(hang->step, 1U);
  EXPECT_THAT(hang->text, HasSubstr("rank 1"));
  EXPECT_THAT(hang->text, HasSubstr("at step 1, computing"));
  EXPECT_THAT(hang->text,
              HasSubstr("it never entered all_reduce float32 of 4.1 kB, in which rank 2 waits"));
  EXPECT_FALSE(hang->waits);
}

TEST(HangWatch, SaysWhenTheGuiltyOneIsInsideAnOperation) {
  Job job(1);
  const FlightScope scope(&job.page.slot(0), "barrier", 0);
  const auto hang = job.pass(60s);
  ASSERT_TRUE(hang.has_value());
  EXPECT_THAT(hang->text, HasSubstr("it entered barrier of 0 B and never left it"));
  EXPECT_TRUE(hang->waits) << "a rank of another host may be the cause";
}

TEST(HangWatch, GivesTwentyMediansOfThePhase) {
  Job job(1, 1s);
  for (int i = 0; i < 40; ++i) {  // steps of 500 ms
    job.all_step();
    job.pass(500ms);
  }
  EXPECT_EQ(job.watch.limit_of(Phase::compute), 10s);
  EXPECT_FALSE(job.pass(9s).has_value());
  EXPECT_TRUE(job.pass(3s).has_value());
}

TEST(HangWatch, ASuspendedSupervisorIsNoHang) {
  Job job(1);
  job.pass(1s);
  job.now += 2h;
  EXPECT_FALSE(job.pass(1s).has_value());
}

TEST(HangWatch, HasPatienceWithLoadingAndForgetsTheDead) {
  Job job(2);
  job.page.slot(0).phase = Phase::loading;
  EXPECT_FALSE(job.pass(300s).has_value());
  EXPECT_TRUE(job.pass(400s).has_value());
  Job ended(1);
  ended.alive[0] = false;
  EXPECT_FALSE(ended.pass(100s).has_value());
  Job unknown(1);
  unknown.page.slot(0).pid = 0;  // a program that knows nothing of pages
  EXPECT_FALSE(unknown.pass(10000s).has_value());
}

/// A process that does nothing, and is gone with this.
class Idle {
 public:
  Idle() : pid_(::fork()) {
    if (pid_ == 0) {
      for (;;) {
        ::pause();
      }
    }
  }
  ~Idle() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Idle(const Idle&) = delete;
  Idle& operator=(const Idle&) = delete;
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_;
};

TEST(HangWatch, WhoWasStoppedHoldsTheOthersUp) {
  const Idle idle;
  Job job(2);
  job.page.slot(1).pid = idle.pid();
  job.page.slot(1).step = 5;  // further than the other
  ::kill(idle.pid(), SIGSTOP);
  ::waitpid(idle.pid(), nullptr, WUNTRACED);
  const auto hang = job.pass(40s);
  ASSERT_TRUE(hang.has_value());
  EXPECT_EQ(hang->local_rank, 1);
  EXPECT_THAT(hang->text, HasSubstr("somebody stopped it (SIGSTOP)"));
}

/// An attendant that looks at the stacks of a rank that was stopped, before it ends it, holds it as
/// a debugger does: for the others' attendants it looked like one that is not stopped.
TEST(HangWatch, WhomADebuggerHoldsIsLeftAlone) {
  const Idle idle;
  Job job(2);
  job.page.slot(1).pid = idle.pid();
  ASSERT_EQ(::ptrace(PTRACE_SEIZE, idle.pid(), nullptr, nullptr), 0);
  ASSERT_EQ(::ptrace(PTRACE_INTERRUPT, idle.pid(), nullptr, nullptr), 0);
  ::waitpid(idle.pid(), nullptr, 0);
  EXPECT_FALSE(job.pass(100s).has_value());
  ASSERT_EQ(::ptrace(PTRACE_DETACH, idle.pid(), nullptr, nullptr), 0);
  EXPECT_TRUE(job.pass(31s).has_value());
}

TEST(HangWatch, WhoHasEndedIsNotWaitedForByTheGuilty) {
  Job job(2);
  {
    const Idle gone;
    job.page.slot(1).pid = gone.pid();
  }
  const auto hang = job.pass(40s);
  ASSERT_TRUE(hang.has_value());
  EXPECT_EQ(hang->local_rank, 1) << "its own attendant says how it ended";
}

}  // namespace
}  // namespace muster
