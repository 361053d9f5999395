// SPDX-License-Identifier: Apache-2.0
#include "runtime/base/clock.h"

#include <gtest/gtest.h>

namespace muster {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

TEST(VirtualClock, SleepingJumpsAndNeverGoesBack) {
  VirtualClock clock;
  const auto start = clock.now();
  clock.sleep_until(start + hours(5));
  EXPECT_EQ(clock.now(), start + hours(5));
  clock.sleep_until(start + hours(1));
  EXPECT_EQ(clock.now(), start + hours(5));
  clock.advance(seconds(1));
  EXPECT_EQ(clock.wall(), WallTime{} + hours(5) + seconds(1));
}

TEST(Clock, WritesTimesThatPeopleRead) {
  EXPECT_EQ(iso_time(WallTime{} + hours(24 * 365) + milliseconds(7)), "1971-01-01T00:00:00.007Z");
  EXPECT_EQ(iso_time(WallTime{} - milliseconds(1)), "1969-12-31T23:59:59.999Z");
  EXPECT_EQ(human_duration(std::chrono::microseconds(4)), "4 us");
  EXPECT_EQ(human_duration(milliseconds(42)), "42 ms");
  EXPECT_EQ(human_duration(milliseconds(2500)), "2.5 s");
  EXPECT_EQ(human_duration(minutes(3) + seconds(5)), "3 min 05 s");
  EXPECT_EQ(human_duration(hours(2) + minutes(5)), "2 h 05 min");
  EXPECT_EQ(human_duration(hours(49)), "2 d 01 h");
}

}  // namespace
}  // namespace muster
