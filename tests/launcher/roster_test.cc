// SPDX-License-Identifier: Apache-2.0
#include "launcher/supervise/roster.h"

#include <gtest/gtest.h>

namespace muster {
namespace {

const std::vector<Host> three{{"a", 2}, {"b", 2}, {"c", 2}};

TEST(Roster, WithoutHostsEverythingRunsHereAndNobodyIsLeftOut) {
  Roster roster({}, 4, 1);
  EXPECT_FALSE(roster.leave_out("here"));
  EXPECT_EQ(roster.ranks(), 4);
}

TEST(Roster, SpareHostsTakeTheRanksOfThoseLeftOut) {
  Roster roster(three, 4, 0);
  EXPECT_TRUE(roster.leave_out("b"));
  EXPECT_FALSE(roster.leave_out("b")) << "said once";
  EXPECT_FALSE(roster.leave_out("elsewhere"));
  EXPECT_EQ(roster.ranks(), 4);
  EXPECT_EQ(roster.left_out(), std::vector<std::string>{"b"});
}

TEST(Roster, GoesOnWithFewerDownToMinRanks) {
  Roster roster(three, 6, 3);
  roster.leave_out("a");
  EXPECT_EQ(roster.ranks(), 4);
  roster.leave_out("b");
  EXPECT_EQ(roster.ranks(), std::nullopt) << "two places, three are needed";
  EXPECT_TRUE(roster.any_left());
  roster.leave_out("c");
  EXPECT_FALSE(roster.any_left());
}

TEST(Roster, AllRanksAreNeededUnlessMinRanksSaysOtherwise) {
  Roster roster(three, 6, 0);
  roster.leave_out("a");
  EXPECT_EQ(roster.ranks(), std::nullopt);
}

TEST(Roster, KnowsAHostByItsShortName) {
  Roster roster({{"node1.cluster.example", 1}, {"node2", 1}}, 2, 1);
  EXPECT_TRUE(roster.leave_out("node1"));
  EXPECT_TRUE(roster.leave_out("node2.cluster.example"));
  EXPECT_EQ(roster.left_out(), (std::vector<std::string>{"node1.cluster.example", "node2"}));
}

TEST(Roster, SharesAsManyRanksASlotAsFromTheStart) {
  Roster roster({{"a", 0}, {"b", 0}}, 4, 1);
  roster.leave_out("a");
  EXPECT_EQ(roster.ranks(), 2) << "two ranks a host were asked for";
}

}  // namespace
}  // namespace muster
