// SPDX-License-Identifier: Apache-2.0
#include "runtime/comm/reduction_plan.h"

#include <gmock/gmock.h>

#include <functional>

#include "collectives/node/node_communicator.h"
#include "tests/support/ranks.h"

namespace muster::test {
namespace {

using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;

ReductionPlan plan() {
  return {{{.name = "one", .count = 10},
           {.name = "two", .count = 20, .dtype = DType::bfloat16},
           {.name = "three", .count = 30}}};
}

Endings compare(const std::function<void(ReductionPlan&)>& change_on_rank_2) {
  return run_threads(3, [&](LocalGroup& group) {
    NodeCommunicator comm(group);
    auto mine = plan();
    if (group.rank() == 2) {
      change_on_rank_2(mine);
    }
    compare_plans(comm, mine);
  });
}

TEST(ReductionPlan, IsQuietWhenRanksAgree) {
  EXPECT_THAT(compare([](auto&) {}), Each(IsEmpty()));
}

TEST(ReductionPlan, NamesTheFirstDifference) {
  EXPECT_THAT(compare([](auto& mine) { mine.entries[1].count = 21; }),
              Each(HasSubstr("entry 2 of the plan is two (sum of 20 bfloat16) on rank 0 and two "
                             "(sum of 21 bfloat16) on rank 2")));
  EXPECT_THAT(compare([](auto& mine) { mine.entries[0].dtype = DType::float64; }),
              Each(HasSubstr("one (sum of 10 float64) on rank 2")));
  EXPECT_THAT(compare([](auto& mine) { std::swap(mine.entries[1], mine.entries[2]); }),
              Each(HasSubstr("entry 2")));
}

TEST(ReductionPlan, NamesWhatOneRankLacksOrHasMore) {
  EXPECT_THAT(compare([](auto& mine) { mine.entries.pop_back(); }),
              Each(HasSubstr("entry 3 of the plan is three (sum of 30 float32) on rank 0 and "
                             "nothing more on rank 2")));
  EXPECT_THAT(compare([](auto& mine) { mine.entries.push_back({.name = "four", .count = 1}); }),
              Each(HasSubstr("nothing more on rank 0 and four")));
}

}  // namespace
}  // namespace muster::test
