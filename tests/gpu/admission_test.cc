// SPDX-License-Identifier: Apache-2.0
#include "runtime/gpu/admission.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace muster {
namespace {

constexpr std::uint64_t gigabyte = std::uint64_t{1} << 30;

TEST(Admission, FillsTheMemoryThatIsThereAndNoMore) {
  Admission admission(10 * gigabyte);  // 9.5 to give
  auto first = admission.enter("a", gigabyte);
  first.measured(2 * gigabyte);  // 2.2 with its margin
  std::vector<Admission::Lease> others;
  while (auto lease = admission.try_enter("a", gigabyte)) {
    others.push_back(std::move(*lease));
  }
  EXPECT_EQ(admission.inside(), 4) << "4 x 2.2 is 8.8, a fifth would be 11";
  others.pop_back();
  EXPECT_TRUE(admission.try_enter("a", gigabyte)) << "who leaves makes room";
}

TEST(Admission, MeasuresOneUnknownKindAtATime) {
  Admission admission(10 * gigabyte);
  auto first = admission.enter("a", gigabyte);
  EXPECT_FALSE(admission.try_enter("b", gigabyte)) << "a is in its dry run";
  EXPECT_FALSE(admission.try_enter("a", gigabyte)) << "and nobody knows what another would take";
  first.measured(gigabyte);
  EXPECT_TRUE(admission.try_enter("a", gigabyte));
  auto second = admission.enter("b", gigabyte);
  EXPECT_FALSE(admission.try_enter("c", gigabyte));
}

TEST(Admission, OneAloneMayAlwaysEnter) {
  Admission admission(gigabyte);
  auto large = admission.try_enter("large", 5 * gigabyte);
  ASSERT_TRUE(large);
  large->measured(gigabyte / 2);
  EXPECT_FALSE(admission.try_enter("large", gigabyte)) << "1.1 of 0.95";
}

TEST(Admission, RunningOutLowersTheNumberAndIsRemembered) {
  Admission admission(10 * gigabyte);
  auto first = admission.enter("a", gigabyte);
  first.measured(gigabyte);
  auto second = admission.enter("a", gigabyte);
  {
    auto third = admission.enter("a", gigabyte);
    third.ran_out();
  }
  EXPECT_FALSE(admission.try_enter("a", gigabyte)) << "two were all that fitted";
  EXPECT_GT(*admission.bytes_of("a"), gigabyte);
}

TEST(Admission, AddsWhileAllTogetherGainAndTakesTheLastBack) {
  Admission admission(1000 * gigabyte);
  admission.note_speed(1, 100);
  EXPECT_EQ(admission.residency(), 2);
  admission.note_speed(2, 180);
  EXPECT_EQ(admission.residency(), 3);
  admission.note_speed(3, 185);  // less than 5 % more
  EXPECT_EQ(admission.residency(), 2);
  admission.note_speed(3, 220);
  EXPECT_EQ(admission.residency(), 4) << "a better measurement counts";
}

TEST(Admission, WaitersEnterWhenSomebodyLeaves) {
  Admission admission(2 * gigabyte);
  auto first = admission.enter("a", gigabyte);
  first.measured(gigabyte);
  std::atomic<int> inside{0};
  std::vector<std::thread> trials;
  for (int i = 0; i < 8; ++i) {
    trials.emplace_back([&] {
      auto lease = admission.enter("a", gigabyte);
      EXPECT_LE(++inside, 1) << "1.1 each, of 1.9";
      --inside;
    });
  }
  { auto gone = std::move(first); }
  for (std::thread& trial : trials) {
    trial.join();
  }
  EXPECT_EQ(admission.inside(), 0);
}

}  // namespace
}  // namespace muster
