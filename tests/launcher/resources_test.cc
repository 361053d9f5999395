// SPDX-License-Identifier: Apache-2.0
#include "launcher/engine/resources.h"

#include <gmock/gmock.h>

namespace muster {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

TEST(Resources, DividesCoresEvenly) {
  const auto shares = divide({{0, 1, 2, 3, 4, 5, 6, 7}, {}}, 3);
  ASSERT_EQ(shares.size(), 3U);
  EXPECT_THAT(shares[0].cpus, ElementsAre(0, 1));
  EXPECT_THAT(shares[2].cpus, ElementsAre(4, 5));
  EXPECT_EQ(shares[0].threads, 2);
}

TEST(Resources, SharesAllCoresWhenThereAreFewerThanRanks) {
  const auto shares = divide({{4, 5}, {}}, 3);
  EXPECT_THAT(shares[2].cpus, ElementsAre(4, 5));
  EXPECT_EQ(shares[2].threads, 1);
}

TEST(Resources, GivesCardsByLocalRank) {
  const auto shares = divide({{0, 1, 2, 3}, {"3", "GPU-ab"}}, 3);
  EXPECT_THAT(shares[0].gpus, ElementsAre("3"));
  EXPECT_THAT(shares[1].gpus, ElementsAre("GPU-ab"));
  EXPECT_THAT(shares[2].gpus, ElementsAre("3"));
}

TEST(Resources, SaysWhoGotWhatInOneLine) {
  const Machine machine{{0, 1, 2, 3}, {"0", "1"}};
  EXPECT_EQ(describe(machine, divide(machine, 2), "this machine"),
            "2 ranks on this machine: 2 cores and 2 threads each, one GPU each");
  EXPECT_EQ(describe({{0}, {}}, divide({{0}, {}}, 1), "this machine"),
            "1 rank on this machine: 1 core and 1 thread each, no GPU");
}

TEST(Resources, SaysOversubscriptionAloud) {
  const Machine machine{{0, 1}, {"0"}};
  const auto line = describe(machine, divide(machine, 4), "this machine");
  EXPECT_THAT(line, HasSubstr("OVERSUBSCRIBED: 4 threads on 2 cores"));
  EXPECT_THAT(line, HasSubstr("1 GPU shared by 4 ranks"));
  EXPECT_THAT(describe(machine, divide(machine, 2), "x"), Not(HasSubstr("OVERSUBSCRIBED")));
  EXPECT_THAT(describe(machine, divide(machine, 2, 4), "x"), HasSubstr("8 threads on 2 cores"));
}

TEST(Resources, ThisMachineHasACore) {
  EXPECT_FALSE(this_machine().cpus.empty());
}

}  // namespace
}  // namespace muster
