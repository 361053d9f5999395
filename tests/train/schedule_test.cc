// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/schedule.h"

#include <gtest/gtest.h>

namespace muster {
namespace {

TEST(Schedule, WarmsUpInALineAndThenStartsTheRule) {
  const ScheduleRule rule{
      .kind = ScheduleRule::Kind::cosine, .rate = 1.0, .warmup_steps = 4, .total_steps = 14};
  EXPECT_DOUBLE_EQ(rate_at(rule, 0), 0.25);
  EXPECT_DOUBLE_EQ(rate_at(rule, 3), 1.0);
  EXPECT_DOUBLE_EQ(rate_at(rule, 4), 1.0);
  EXPECT_NEAR(rate_at(rule, 9), 0.5, 1e-12);
  EXPECT_NEAR(rate_at(rule, 14), 0.0, 1e-12);
  EXPECT_NEAR(rate_at(rule, 1000), 0.0, 1e-12);
}

TEST(Schedule, StepMultipliesAfterEachPeriod) {
  const ScheduleRule rule{
      .kind = ScheduleRule::Kind::step, .rate = 0.8, .every = 10, .factor = 0.5};
  EXPECT_DOUBLE_EQ(rate_at(rule, 9), 0.8);
  EXPECT_DOUBLE_EQ(rate_at(rule, 10), 0.4);
  EXPECT_DOUBLE_EQ(rate_at(rule, 35), 0.1);
}

TEST(Schedule, OneCycleRisesPeaksAndEndsFarBelowItsStart) {
  const ScheduleRule rule{.kind = ScheduleRule::Kind::one_cycle, .rate = 1.0, .total_steps = 100};
  EXPECT_NEAR(rate_at(rule, 0), 1.0 / 25, 1e-12);
  EXPECT_NEAR(rate_at(rule, 30), 1.0, 1e-12);
  EXPECT_LT(rate_at(rule, 60), 1.0);
  EXPECT_NEAR(rate_at(rule, 100), 1.0 / 25 / 1e4, 1e-12);
}

}  // namespace
}  // namespace muster
