// SPDX-License-Identifier: Apache-2.0
#include "runtime/base/random.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "runtime/base/error.h"

namespace muster {
namespace {

TEST(Philox, GivesThePublishedVectors) {
  // Random123's known answers for philox4x32-10.
  EXPECT_EQ(philox(0, 0, 0),
            (std::array<std::uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox(~0ULL, ~0ULL, ~0ULL),
            (std::array<std::uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox(0x299f31d0a4093822ULL, 0x85a308d3243f6a88ULL, 0x0370734413198a2eULL),
            (std::array<std::uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Random, GoesOnFromItsWrittenState) {
  Random random(42, 7);
  for (int i = 0; i < 5; ++i) {
    random();
  }
  Random again = Random::from_state(random.state());
  EXPECT_EQ(random.state(), "philox 42 7 5");
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(random(), again());
  }
  for (const std::string text : {"mt19937 1 2 3", "philox 1 2"}) {
    EXPECT_THAT(
        [&] { Random::from_state(text); },
        testing::ThrowsMessage<Error>("'" + text + "' is not the state of a random stream"));
  }
}

TEST(Random, ReachesAnyPositionAtOnce) {
  Random walked(1);
  for (int i = 0; i < 999; ++i) {
    walked();
  }
  Random jumped(1);
  jumped.skip_to(999);
  EXPECT_EQ(walked(), jumped());
}

TEST(Random, BelowIsFair) {
  Random random(3);
  std::vector<int> seen(7);
  constexpr int draws = 70000;
  for (int i = 0; i < draws; ++i) {
    ++seen[random.below(7)];
  }
  for (const int count : seen) {
    EXPECT_NEAR(count, draws / 7, 5 * 100);  // five standard deviations
  }
}

TEST(Random, NormalAndUniformHaveTheirMoments) {
  Random random(11);
  double sum = 0;
  double squares = 0;
  double uniform = 0;
  constexpr int draws = 100000;
  for (int i = 0; i < draws; ++i) {
    const double z = random.normal();
    sum += z;
    squares += z * z;
    uniform += random.uniform();
  }
  EXPECT_NEAR(sum / draws, 0, 0.016);
  EXPECT_NEAR(squares / draws, 1, 0.023);
  EXPECT_NEAR(uniform / draws, 0.5, 0.005);
}

}  // namespace
}  // namespace muster
