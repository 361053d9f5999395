// SPDX-License-Identifier: Apache-2.0
#include "tests/support/node_group_conformance.h"

#include <gmock/gmock.h>

namespace muster::test {
namespace {

using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;

class ThreadNodeGroup : public testing::TestWithParam<int> {};

TEST_P(ThreadNodeGroup, MeetsInEveryRound) {
  EXPECT_THAT(run_threads(GetParam(), meets_in_every_round), Each(IsEmpty()));
}
TEST_P(ThreadNodeGroup, SharesZeroedMemory) {
  EXPECT_THAT(run_threads(GetParam(), shares_zeroed_memory), Each(IsEmpty()));
}
TEST_P(ThreadNodeGroup, FindsPlacesInWindows) {
  EXPECT_THAT(run_threads(GetParam(), finds_places_in_windows), Each(IsEmpty()));
}
TEST_P(ThreadNodeGroup, SplitsByColour) {
  EXPECT_THAT(run_threads(GetParam(), splits_by_colour), Each(IsEmpty()));
}
TEST_P(ThreadNodeGroup, AbortEndsAllWaits) {
  EXPECT_THAT(run_threads(GetParam(), abort_ends_all_waits),
              Each(HasSubstr("aborted: out of milk")));
}

INSTANTIATE_TEST_SUITE_P(Ranks, ThreadNodeGroup, testing::Values(1, 2, 3, 4));

TEST(ThreadNodeGroup, FailsItsPartsWhenTheWholeIsAborted) {
  const auto endings = run_threads(3, [](LocalGroup& group) {
    const auto part = group.split(group.rank() / 2, 0);
    if (group.rank() == 2) {
      group.abort("the whole ends");
    }
    for (;;) {
      part->barrier();
    }
  });
  EXPECT_THAT(endings, Each(HasSubstr("the whole ends")));
}

}  // namespace
}  // namespace muster::test
