// SPDX-License-Identifier: Apache-2.0
#include "collectives/node/wait_tuner.h"

#include <gtest/gtest.h>

namespace muster {
namespace {

struct Machine {
  double spinning_ns;
  double sleeping_ns;
  std::uint32_t exhausted = 0;
  double of(WaitPolicy policy) const {
    return policy == WaitPolicy::spin ? spinning_ns : sleeping_ns;
  }
};

/// How many of `windows` were spent sleeping.
int windows_asleep(WaitTuner& tuner, const Machine& machine, int windows) {
  int asleep = 0;
  for (int window = 0; window < windows; ++window) {
    const auto policy = tuner.policy();
    asleep += policy == WaitPolicy::sleep ? 1 : 0;
    tuner.window_ended(machine.of(policy), policy == WaitPolicy::spin ? machine.exhausted : 0);
  }
  return asleep;
}

TEST(WaitTuner, SleepsForGoodWithoutACoreEach) {
  WaitTuner tuner(false);
  EXPECT_EQ(windows_asleep(tuner, {.spinning_ns = 1, .sleeping_ns = 9}, 1000), 1000);
}

TEST(WaitTuner, KeepsSpinningWhereItIsFasterAndTriesEverLess) {
  WaitTuner tuner(true);
  EXPECT_EQ(tuner.policy(), WaitPolicy::spin);
  EXPECT_LT(windows_asleep(tuner, {.spinning_ns = 10, .sleeping_ns = 14}, 5000), 60);
  EXPECT_EQ(tuner.policy(), WaitPolicy::spin);
}

TEST(WaitTuner, GoesToSleepSoonWhenAPeerIsDescheduled) {
  WaitTuner tuner(true);
  EXPECT_GE(windows_asleep(tuner, {.spinning_ns = 25, .sleeping_ns = 10, .exhausted = 9}, 30), 22);
}

TEST(WaitTuner, SpinsAgainWhenTheMachineIsQuietAgain) {
  WaitTuner tuner(true);
  windows_asleep(tuner, {.spinning_ns = 25, .sleeping_ns = 10, .exhausted = 9}, 100);
  ASSERT_EQ(tuner.policy(), WaitPolicy::sleep);
  windows_asleep(tuner, {.spinning_ns = 8, .sleeping_ns = 12}, 600);
  EXPECT_EQ(tuner.policy(), WaitPolicy::spin);
}

TEST(WaitTuner, TakesUnevenWorkForWhatItIs) {
  WaitTuner tuner(true);
  EXPECT_LT(windows_asleep(tuner, {.spinning_ns = 10, .sleeping_ns = 10.1, .exhausted = 9}, 5000),
            250);
}

TEST(WaitTuner, DoesNotMoveForAHair) {
  WaitTuner tuner(true);
  windows_asleep(tuner, {.spinning_ns = 10, .sleeping_ns = 9.8}, 200);
  EXPECT_EQ(tuner.policy(), WaitPolicy::spin);
}

}  // namespace
}  // namespace muster
