// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/interval.h"

#include <gtest/gtest.h>

#include <cmath>

namespace muster {
namespace {

TEST(Interval, GoesByStepsWhenToldSo) {
  EXPECT_EQ(interval_seconds({.steps = 10}, SaveCost{1, 1}), std::nullopt);
  EXPECT_EQ(interval_seconds({.seconds = 90}, SaveCost{1, 1}), 90);
}

TEST(Interval, IsYoungsWhereSavingIsCheap) {
  const SaveCost cost{.stall_seconds = 0.2, .persist_seconds = 1};
  EXPECT_DOUBLE_EQ(automatic_interval({.failure_seconds = 86400}, cost),
                   std::sqrt(2 * 0.2 * 86400));
}

TEST(Interval, NeverSpendsMoreThanItsBudget) {
  const SaveCost cost{.stall_seconds = 0.001, .persist_seconds = 30};
  EXPECT_DOUBLE_EQ(automatic_interval({.failure_seconds = 3600, .budget = 0.01}, cost), 3000);
}

TEST(Interval, LooksAgainHalfOfTheWayThere) {
  EXPECT_EQ(steps_until_look(10, 0.1), 50);
  EXPECT_EQ(steps_until_look(0.01, 1), 1);
  EXPECT_EQ(steps_until_look(100, 0), 1000000);
}

}  // namespace
}  // namespace muster
