// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/residency.h"

#include <gtest/gtest.h>

#include <functional>

namespace muster {
namespace {

/// Feeds reports of a machine on which n trials together do `rate(n)` of work a second.
std::size_t settle(Residency& residency, const std::function<double(std::size_t)>& rate) {
  Monotonic now{};
  for (int i = 0; i < 10000 && !residency.is_settled(); ++i) {
    now += std::chrono::milliseconds(100);
    const auto residents = residency.wanted();
    residency.measure(residents, rate(residents) * 0.1, now);
  }
  EXPECT_TRUE(residency.is_settled());
  return residency.wanted();
}

TEST(Residency, AddsTrialsWhileTheyAddFivePercentAndTakesTheLastOneBack) {
  Residency saturating(1);
  EXPECT_EQ(settle(saturating, [](std::size_t n) { return n < 4 ? double(n) : 3.2; }), 4U);
  Residency full(2);
  EXPECT_EQ(settle(full, [](std::size_t) { return 5.0; }), 2U);
  Residency worse(2);
  EXPECT_EQ(settle(worse, [](std::size_t n) { return 10.0 / double(n); }), 2U);
}

TEST(Residency, DoesNotMeasureWhileASlotIsBetweenTrials) {
  Residency residency(2);
  Monotonic now{};
  for (int i = 0; i < 1000; ++i) {
    now += std::chrono::milliseconds(100);
    residency.measure(i % 3 == 0 ? 1 : 2, 1, now);
  }
  EXPECT_EQ(residency.wanted(), 2U);
  EXPECT_FALSE(residency.is_settled());
}

TEST(Residency, ATrialThatDidNotFitLowersItForGood) {
  Residency residency(4);
  residency.did_not_fit(3);
  EXPECT_EQ(residency.wanted(), 3U);
  EXPECT_EQ(settle(residency, [](std::size_t n) { return double(n); }), 3U);
  Residency one(1);
  one.did_not_fit(0);
  EXPECT_EQ(one.wanted(), 1U);
}

TEST(Residency, MemorySetsTheCeiling) {
  Residency residency(8);
  residency.set_memory(1'000'000'000, 4'000'000'000);
  EXPECT_EQ(residency.wanted(), 3U);  // 95 % of it, a tenth more each
  EXPECT_EQ(settle(residency, [](std::size_t n) { return double(n); }), 3U);
}

}  // namespace
}  // namespace muster
