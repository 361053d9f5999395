// SPDX-License-Identifier: Apache-2.0
#include "collectives/shm/shm_node_group.h"

#include <gmock/gmock.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <chrono>

#include "runtime/base/error.h"
#include "tests/support/node_group_conformance.h"

namespace muster::test {
namespace {

using testing::AllOf;
using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;

class ShmNodeGroup : public testing::TestWithParam<int> {};

TEST_P(ShmNodeGroup, MeetsInEveryRound) {
  EXPECT_THAT(run_processes(GetParam(), meets_in_every_round), Each(IsEmpty()));
}
TEST_P(ShmNodeGroup, SharesZeroedMemory) {
  EXPECT_THAT(run_processes(GetParam(), shares_zeroed_memory), Each(IsEmpty()));
}
TEST_P(ShmNodeGroup, FindsPlacesInWindows) {
  EXPECT_THAT(run_processes(GetParam(), finds_places_in_windows), Each(IsEmpty()));
}
TEST_P(ShmNodeGroup, SplitsByColour) {
  EXPECT_THAT(run_processes(GetParam(), splits_by_colour), Each(IsEmpty()));
}
TEST_P(ShmNodeGroup, AbortEndsAllWaits) {
  EXPECT_THAT(run_processes(GetParam(), abort_ends_all_waits),
              Each(HasSubstr("aborted: out of milk")));
}

INSTANTIATE_TEST_SUITE_P(Ranks, ShmNodeGroup, testing::Values(1, 2, 3, 4));

TEST(ShmNodeGroup, NamesTheRankThatWasKilled) {
  const auto start = std::chrono::steady_clock::now();
  const auto endings = run_processes(3, [](LocalGroup& group) {
    group.barrier();
    if (group.rank() == 1) {
      ::raise(SIGKILL);
    }
    group.barrier();
  });
  EXPECT_EQ(endings[1], "killed by signal 9");
  EXPECT_THAT(endings[0], AllOf(HasSubstr("rank 1 (process "), HasSubstr("died")));
  EXPECT_THAT(endings[2], AllOf(HasSubstr("rank 1 (process "), HasSubstr("died")));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30));
}

TEST(ShmNodeGroup, NamesTheRankThatLeft) {
  const auto endings = run_processes(2, [](LocalGroup& group) {
    if (group.rank() == 0) {
      group.barrier();
    }
  });
  EXPECT_THAT(endings[0], HasSubstr("has left"));
  EXPECT_THAT(endings[1], IsEmpty());
}

TEST(ShmNodeGroup, EndsItsPartsWhenARankOfTheWholeIsKilled) {
  const auto endings = run_processes(4, [](LocalGroup& group) {
    const auto part = group.split(group.rank() / 2, 0);
    if (group.rank() == 3) {
      ::raise(SIGKILL);
    }
    part->barrier();
    group.barrier();
  });
  EXPECT_THAT(endings[2], HasSubstr("rank 3 (process"));
  EXPECT_THAT(endings[0], HasSubstr("rank 3 (process"));
}

TEST(ShmNodeGroup, SaysWhoNeverCame) {
  auto page = ControlPage::create(2);
  try {
    shm_node_group(page, 0, 2, {.join_deadline = std::chrono::seconds(0)});
    FAIL() << "nobody joined";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("rank 1 of this machine has not joined"));
  }
}

TEST(ShmNodeGroup, RefusesTwoProcessesWithOnePlace) {
  auto page = ControlPage::create(1);
  const auto group = shm_node_group(page, 0, 1);
  EXPECT_THROW(shm_node_group(page, 0, 1), Error);
}

TEST(ShmNodeGroup, TellsTheControlPageWhoAborted) {
  auto page = ControlPage::create(1);
  const auto group = shm_node_group(page, 0, 1);
  group->abort("no data");
  EXPECT_EQ(page.header().aborted.load(), 1U);
  EXPECT_STREQ(page.header().abort_reason.data(), "rank 0 aborted: no data");
}

/// A machine of its own whose /dev/shm holds 1 MB. Says whether the system allows that.
bool has_tiny_dev_shm() {
  return ::unshare(CLONE_NEWNS) == 0 &&
         ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         ::mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=1m") == 0;
}

TEST(ShmNodeGroup, SharesMoreThanDevShmHolds) {
  const auto endings = run_processes(2, [](LocalGroup& group) {
    has_tiny_dev_shm();  // where it is refused, the system's own /dev/shm is small enough or proves
                         // nothing
    const auto memory = group.share(64U << 20U);
    memory->bytes().back() = std::byte{1};
    group.barrier();
  });
  EXPECT_THAT(endings, Each(IsEmpty()));
}

TEST(ShmNodeGroup, SaysThatDevShmIsTooSmallBeforeItIsTouched) {
  const auto endings = run_processes(1,
                                     [](LocalGroup& group) {
                                       if (!has_tiny_dev_shm()) {
                                         throw std::runtime_error("not allowed to mount");
                                       }
                                       group.share(64U << 20U);
                                     },
                                     {.allow_memfd = false});
  if (endings[0] == "not allowed to mount") {
    GTEST_SKIP() << "needs a mount namespace";
  }
  EXPECT_THAT(endings[0], AllOf(HasSubstr("/dev/shm has 1"), HasSubstr("--shm-size")));
}

TEST(ShmNodeGroup, FallsBackToDevShmAndLeavesNothingThere) {
  const auto endings = run_processes(
      2,
      [](LocalGroup& group) {
        shares_zeroed_memory(group);
        demand(
            ::access(("/dev/shm/muster-" + std::to_string(::getpid()) + "-1").c_str(), F_OK) != 0,
            "the name is gone");
      },
      {.allow_memfd = false});
  EXPECT_THAT(endings, Each(IsEmpty()));
}

TEST(ShmNodeGroup, RefusesMoreThanTheMachineHas) {
  const auto endings =
      run_processes(2, [](LocalGroup& group) { group.share(std::size_t{1} << 50U); });
  EXPECT_THAT(endings, Each(AllOf(HasSubstr("of shared memory"), HasSubstr("has"))));
}

}  // namespace
}  // namespace muster::test
