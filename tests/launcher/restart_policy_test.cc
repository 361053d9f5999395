// SPDX-License-Identifier: Apache-2.0
#include "launcher/supervise/restart_policy.h"

#include <gmock/gmock.h>

namespace muster {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

Failure at(std::uint64_t step, std::uint64_t checkpoint = 0, std::string host = "") {
  Failure failure;
  failure.last_step = step;
  failure.checkpoint = checkpoint;
  failure.host = std::move(host);
  return failure;
}

TEST(RestartPolicy, NeverRestartsAUsersError) {
  RestartPolicy policy({});
  auto failure = at(10, 5);
  failure.user_error = true;
  EXPECT_FALSE(policy.on_failure(failure, {}).again);
  auto input = at(10, 5);
  input.fault = Fault::bad_input;
  const auto decision = policy.on_failure(input, {});
  EXPECT_FALSE(decision.again);
  EXPECT_THAT(decision.why, HasSubstr("at fault"));
}

TEST(RestartPolicy, GivesUpWhenItFailsTwiceBeforeTheFirstStep) {
  RestartPolicy policy({});
  EXPECT_TRUE(policy.on_failure(at(0), Monotonic{}).again);
  const auto second = policy.on_failure(at(0), Monotonic{} + 1s);
  EXPECT_FALSE(second.again);
  EXPECT_THAT(second.why, HasSubstr("before its first step"));
}

TEST(RestartPolicy, BacksOffAndANewCheckpointRestoresTheFirstWait) {
  RestartPolicy policy({.per_hour = 100});
  std::vector<long> waits;
  for (int i = 0; i < 10; ++i) {
    waits.push_back(policy.on_failure(at(7), Monotonic{} + i * 1s).wait.count());
  }
  EXPECT_THAT(waits,
              testing::ElementsAre(0, 500, 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000));
  EXPECT_EQ(policy.on_failure(at(20, 10), Monotonic{} + 20s).wait.count(), 0);
}

TEST(RestartPolicy, SpendsItsBudgetByTheHour) {
  RestartPolicy policy({.per_hour = 3});
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(policy.on_failure(at(7), Monotonic{} + i * 1min).again);
  }
  EXPECT_THAT(policy.on_failure(at(7), Monotonic{} + 4min).why,
              HasSubstr("4 failures within an hour"));
  EXPECT_TRUE(policy.on_failure(at(7), Monotonic{} + 63min).again)
      << "the first ones are more than an hour old";
}

TEST(RestartPolicy, ACheckpointRestoresTheBudget) {
  RestartPolicy policy({.per_hour = 1});
  for (std::uint64_t i = 1; i < 50; ++i) {
    EXPECT_TRUE(policy.on_failure(at(10 * i, 10 * i), Monotonic{} + static_cast<int>(i) * 1s).again)
        << i;
  }
}

TEST(RestartPolicy, LeavesAHostOutAfterItsSecondFailure) {
  RestartPolicy policy({});
  EXPECT_FALSE(policy.on_failure(at(5, 1, "a"), Monotonic{}).exclude.has_value());
  EXPECT_FALSE(policy.on_failure(at(5, 2, "b"), Monotonic{}).exclude.has_value());
  EXPECT_EQ(policy.on_failure(at(5, 3, "a"), Monotonic{}).exclude, "a");
}

TEST(RestartPolicy, CanBeSwitchedOff) {
  RestartPolicy policy({.per_hour = 0});
  EXPECT_THAT(policy.on_failure(at(5, 1), {}).why, HasSubstr("restarts are off"));
}

}  // namespace
}  // namespace muster
