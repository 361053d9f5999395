// SPDX-License-Identifier: Apache-2.0
#include "runtime/gpu/admission.h"

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

namespace muster {
namespace {

constexpr std::uint64_t gigabyte = std::uint64_t{1} << 30;

TEST(Admission, FillsTheMemoryThatIsThereAndNoMore) {
  Admission admission(10 * gigabyte);  // 9.5 to give
  auto first = admission.enter("a", gigabyte);
  first->measured(2 * gigabyte);  // 2.2 with its margin
  std::vector<Admission::Lease> others;
  while (auto lease = admission.try_enter("a", gigabyte)) {
    others.push_back(std::move(*lease));
  }
  EXPECT_EQ(admission.inside(), 4) << "4 x 2.2 is 8.8, a fifth would be 11";
  others.pop_back();
  EXPECT_TRUE(admission.try_enter("a", gigabyte)) << "who leaves makes room";
}

TEST(Admission, WhatTrialsShareIsNobodysRoom) {
  std::uint64_t shared = 0;
  Admission admission(10 * gigabyte, 0, [&] { return shared; });
  auto first = admission.enter("a", gigabyte);
  first->measured(2 * gigabyte);
  shared = 6 * gigabyte;  // a data set: 3.5 are left, of which the first has 2.2
  EXPECT_FALSE(admission.try_enter("a", gigabyte));
  shared = 0;
  EXPECT_TRUE(admission.try_enter("a", gigabyte));
}

TEST(Admission, MeasuresOneUnknownKindAtATime) {
  Admission admission(10 * gigabyte);
  auto first = admission.enter("a", gigabyte);
  EXPECT_FALSE(admission.try_enter("b", gigabyte)) << "a is in its dry run";
  EXPECT_FALSE(admission.try_enter("a", gigabyte)) << "and nobody knows what another would take";
  first->measured(gigabyte);
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
  first->measured(gigabyte);
  auto second = admission.enter("a", gigabyte);
  {
    auto third = admission.enter("a", gigabyte);
    third->ran_out();
  }
  EXPECT_FALSE(admission.try_enter("a", gigabyte)) << "two were all that fitted";
  EXPECT_GT(*admission.bytes_of("a"), gigabyte);
}

TEST(Admission, UnknownKindsEnterTogetherWhileThereIsRoomForMuchLargerOnes) {
  Admission admission(10 * gigabyte, 4);
  auto first = admission.enter("a", gigabyte);
  auto second = admission.try_enter("b", gigabyte);
  EXPECT_TRUE(second) << "1 and 4 times 1 of 9.5";
  EXPECT_FALSE(admission.try_enter("c", 2 * gigabyte)) << "2 and 4 times 2";
  first->measured(gigabyte / 2);
  second->measured(gigabyte / 2);
  EXPECT_TRUE(admission.try_enter("c", 2 * gigabyte)) << "nobody else is being measured";
}

/// Lets trials wait until as many do.
void until_waiting(const Admission& admission, int count) {
  while (admission.waiting() < count) {
    std::this_thread::yield();
  }
}

TEST(Admission, TheLargestThatFitsEntersFirst) {
  Admission admission(10 * gigabyte);  // 9.5 to give
  const std::map<std::string, std::uint64_t> sizes{{"small", 1}, {"large", 3}, {"blocker", 5}};
  for (const auto& [kind, size] : sizes) {
    admission.enter(kind, gigabyte)->measured(size * gigabyte);
  }
  const auto blocker = admission.enter("blocker", 0);
  auto gate = admission.enter("large", 0);  // 8.8 are taken: nobody fits
  std::vector<std::string> order;
  std::mutex mutex;
  std::vector<std::thread> trials;
  for (const std::string kind : {"small", "large", "small"}) {
    trials.emplace_back([&, kind] {
      const auto lease = admission.enter(kind, 0);
      const std::lock_guard lock(mutex);
      order.push_back(kind);
    });
    until_waiting(admission, static_cast<int>(trials.size()));
  }
  gate.reset();
  for (std::thread& trial : trials) {
    trial.join();
  }
  EXPECT_EQ(order, (std::vector<std::string>{"large", "small", "small"}));
}

TEST(Admission, ALargeOneIsNotPassedForEver) {
  Admission admission(10 * gigabyte);
  admission.enter("small", gigabyte)->measured(gigabyte);
  admission.enter("large", gigabyte)->measured(8 * gigabyte);
  auto small = admission.enter("small", 0);
  std::thread large([&] { EXPECT_TRUE(admission.enter("large", 0)); });
  until_waiting(admission, 1);
  int passed = 0;
  while (admission.try_enter("small", 0)) {
    ++passed;
  }
  EXPECT_EQ(passed, Admission::most_passed);
  small.reset();
  large.join();
}

TEST(Admission, AWaiterThatIsCalledOffLeavesWithoutALease) {
  Admission admission(gigabyte);
  auto first = admission.enter("a", gigabyte);
  std::atomic<bool> is_called_off{false};
  std::thread trial(
      [&] { EXPECT_FALSE(admission.enter("a", gigabyte, [&] { return is_called_off.load(); })); });
  until_waiting(admission, 1);
  is_called_off = true;
  admission.look_again();
  trial.join();
  EXPECT_EQ(admission.inside(), 1);
}

TEST(Admission, WaitersEnterWhenSomebodyLeaves) {
  Admission admission(2 * gigabyte);
  auto first = admission.enter("a", gigabyte);
  first->measured(gigabyte);
  std::atomic<int> inside{0};
  std::vector<std::thread> trials;
  for (int i = 0; i < 8; ++i) {
    trials.emplace_back([&] {
      auto lease = admission.enter("a", gigabyte);
      EXPECT_LE(++inside, 1) << "1.1 each, of 1.9";
      --inside;
    });
  }
  first.reset();
  for (std::thread& trial : trials) {
    trial.join();
  }
  EXPECT_EQ(admission.inside(), 0);
}

}  // namespace
}  // namespace muster
