// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/straggler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace muster {
namespace {

using testing::AllOf;
using testing::HasSubstr;

using Times = std::vector<std::int64_t>;

/// The sentences of `steps` steps that all look like `busy`.
std::vector<std::string> sentences_of(Straggler& straggler, const Times& busy, int steps,
                                      std::uint64_t first = 1) {
  std::vector<std::string> sentences;
  for (int i = 0; i < steps; ++i) {
    if (auto text = straggler.on_step(first + static_cast<std::uint64_t>(i), busy)) {
      sentences.push_back(*text);
    }
  }
  return sentences;
}

TEST(Straggler, NamesTheRankTheFactorAndTheStepAfterFiftySteps) {
  Straggler straggler;
  EXPECT_THAT(sentences_of(straggler, {100, 100, 150, 100}, 49), testing::IsEmpty());
  const auto text = straggler.on_step(50, Times{100, 100, 150, 100});
  ASSERT_TRUE(text);
  EXPECT_THAT(*text, AllOf(HasSubstr("rank 2 is slow"), HasSubstr("1.50 times the median"),
                           HasSubstr("last 50 steps (step 50)")));
}

TEST(Straggler, SpeaksOncePerSpellAndAgainAfterItHasHealed) {
  Straggler straggler;
  EXPECT_EQ(sentences_of(straggler, {100, 200, 100}, 500).size(), 1U);
  straggler.on_step(501, Times{100, 100, 100});
  EXPECT_EQ(sentences_of(straggler, {100, 200, 100}, 500, 502).size(), 1U);
}

TEST(Straggler, AStepInBetweenStartsTheCountAnew) {
  Straggler straggler;
  for (int spell = 0; spell < 5; ++spell) {
    EXPECT_THAT(sentences_of(straggler, {300, 100, 100}, 49), testing::IsEmpty());
    straggler.on_step(50, Times{100, 100, 100});
  }
}

TEST(Straggler, ToleratesAQuarterMoreThanTheMedian) {
  Straggler straggler;
  EXPECT_THAT(sentences_of(straggler, {100, 125, 100}, 200), testing::IsEmpty());
  EXPECT_EQ(sentences_of(straggler, {100, 126, 100}, 200).size(), 1U);
}

// Of two, the median lies in the middle: 1.5 and 1 are 1.2 and 0.8 times it.
TEST(Straggler, JudgesTwoRanksByTheirMean) {
  Straggler straggler;
  EXPECT_THAT(sentences_of(straggler, {150, 100}, 200), testing::IsEmpty());
  const auto found = sentences_of(straggler, {100, 300}, 200);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_THAT(found[0], AllOf(HasSubstr("rank 1 is slow"), HasSubstr("1.50 times")));
}

TEST(Straggler, ARankAloneIsNeverSlow) {
  Straggler straggler;
  EXPECT_THAT(sentences_of(straggler, {1000}, 200), testing::IsEmpty());
  EXPECT_THAT(sentences_of(straggler, {0, 0}, 200), testing::IsEmpty());
}

}  // namespace
}  // namespace muster
