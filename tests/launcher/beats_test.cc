// SPDX-License-Identifier: Apache-2.0
#include "launcher/engine/beats.h"

#include <gmock/gmock.h>

#include "tests/launcher/programs.h"

namespace muster {
namespace {

using std::chrono::seconds;
using testing::IsEmpty;
using testing::SizeIs;

class Beats : public testing::Test {
 protected:
  /// Looks every few seconds for so long; whoever was lost at the end.
  std::vector<std::pair<int, BeatWatch::Lost>> after(seconds time, seconds step = beat_every) {
    std::vector<std::pair<int, BeatWatch::Lost>> lost;
    for (const auto end = now_ + time; now_ < end;) {
      now_ += step;
      lost = watch_.look({0, 1}, now_);
    }
    return lost;
  }
  test::TemporaryDirectory logs_;
  Monotonic now_{seconds(1000)};
  BeatWatch watch_{logs_.path(), 2};
};

TEST_F(Beats, WhoIsSilentIsLostAndWhoBeatsIsNot) {
  BeatWriter zero(logs_.path(), 0, "a");
  BeatWriter one(logs_.path(), 1, "b");
  EXPECT_THAT(after(seconds(20)), IsEmpty());
  for (int turn = 0; turn < 3; ++turn) {
    zero.beat(now_);
    EXPECT_THAT(after(seconds(5)), IsEmpty());
  }
  zero.beat(now_);
  const auto lost = after(seconds(5));
  ASSERT_THAT(lost, SizeIs(1));
  EXPECT_EQ(lost[0].first, 1);
  EXPECT_EQ(lost[0].second.host, "b");
  EXPECT_GT(lost[0].second.silent, BeatWatch::lost_after);
}

TEST_F(Beats, BeforeTheFirstThereIsMoreTime) {
  EXPECT_THAT(after(seconds(115)), IsEmpty());
  const auto lost = after(seconds(15));
  ASSERT_THAT(lost, SizeIs(2));
  EXPECT_EQ(lost[0].second.host, "");
}

TEST_F(Beats, ATimeInWhichNobodyLookedIsNoSilence) {
  BeatWriter zero(logs_.path(), 0, "a");
  BeatWriter one(logs_.path(), 1, "b");
  EXPECT_THAT(after(seconds(5)), IsEmpty());
  EXPECT_THAT(after(seconds(3600), seconds(3600)), IsEmpty()) << "the supervisor was suspended";
}

TEST_F(Beats, AnAttendantThatIsStillBeingLoadedIsNotSignalled) {
  const BeatWatch watch(logs_.path(), 2);
  BeatWriter zero(logs_.path(), 0, "a");
  zero.beat(now_);
  EXPECT_FALSE(watch.all_beat()) << "the other one has not come";
  BeatWriter one(logs_.path(), 1, "b.c.");
  EXPECT_FALSE(watch.all_beat()) << "it has come and does not listen yet";
  one.beat(now_);
  EXPECT_TRUE(watch.all_beat());
}

TEST_F(Beats, WhatAnEarlierStartLeftIsForgotten) {
  BeatWriter zero(logs_.path(), 0, "a");
  BeatWatch next(logs_.path(), 2);
  EXPECT_FALSE(std::filesystem::exists(logs_.path() / "rank-0.beat"));
}

}  // namespace
}  // namespace muster
