// SPDX-License-Identifier: Apache-2.0
#include "collectives/node/cpu_shares.h"

#include <gtest/gtest.h>

#include <initializer_list>

namespace muster {
namespace {

cpu_set_t cpus(std::initializer_list<int> list) {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  for (const int cpu : list) {
    CPU_SET(cpu, &mask);
  }
  return mask;
}

bool same(const cpu_set_t& a, const cpu_set_t& b) {
  return CPU_EQUAL(&a, &b);
}

TEST(CpuShares, SplitsACommonMaskInOrder) {
  const auto shares = cpu_shares(std::vector(2, cpus({0, 1, 4, 5, 7})));
  ASSERT_TRUE(shares);
  EXPECT_TRUE(same((*shares)[0], cpus({0, 1})));
  EXPECT_TRUE(same((*shares)[1], cpus({4, 5})));
}

TEST(CpuShares, HasNoneForMoreRanksThanCores) {
  EXPECT_FALSE(cpu_shares(std::vector(3, cpus({0, 1}))));
}

TEST(CpuShares, KeepsWhatALauncherBound) {
  const auto shares = cpu_shares(std::vector{cpus({2}), cpus({0})});
  ASSERT_TRUE(shares);
  EXPECT_TRUE(same((*shares)[0], cpus({2})));
}

TEST(CpuShares, LeavesOverlappingMasksAlone) {
  EXPECT_FALSE(cpu_shares(std::vector{cpus({0, 1}), cpus({1, 2})}));
}

}  // namespace
}  // namespace muster
