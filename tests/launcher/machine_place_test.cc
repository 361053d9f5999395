// SPDX-License-Identifier: Apache-2.0
#include "launcher/engine/machine_place.h"

#include <gmock/gmock.h>

#include <cstdlib>

namespace muster {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::pair<int, int> place_in(const Environment& environment) {
  const auto place = machine_place(environment);
  return {place.local_rank, place.local_size};
}

TEST(MachinePlace, IsAsTheLauncherSays) {
  EXPECT_EQ(place_in({}), std::pair(0, 1));
  EXPECT_EQ(place_in({{"OMPI_COMM_WORLD_LOCAL_RANK", "3"}, {"OMPI_COMM_WORLD_LOCAL_SIZE", "5"}}),
            std::pair(3, 5));
  const Environment slurm{
      {"SLURM_LOCALID", "1"}, {"SLURM_NODEID", "2"}, {"SLURM_STEP_TASKS_PER_NODE", "4(x2),2"}};
  EXPECT_EQ(place_in(slurm), std::pair(1, 2));
  // The script of a batch job is no step: it has the node to itself.
  EXPECT_EQ(place_in({{"SLURM_LOCALID", "0"}, {"SLURM_NODEID", "0"}}), std::pair(0, 1));
}

TEST(MachinePlace, CardsAreDividedEvenlyAndSharedWhereTheyAreTooFew) {
  const std::vector<std::string> cards{"0", "1", "2", "3", "4"};
  EXPECT_EQ(own_cards(cards, {0, 1}), cards);
  EXPECT_THAT(own_cards(cards, {0, 2}), ElementsAre("0", "1"));
  EXPECT_THAT(own_cards(cards, {1, 2}), ElementsAre("2", "3", "4"));
  EXPECT_THAT(own_cards(cards, {6, 8}), ElementsAre("1"));
  EXPECT_THAT(own_cards({}, {1, 2}), IsEmpty());
}

TEST(MachinePlace, OneCardIsLeftToSee) {
  ::setenv("CUDA_VISIBLE_DEVICES", "4,5,6", 1);
  ::setenv("OMPI_COMM_WORLD_LOCAL_RANK", "4", 1);
  see_only_own_card();
  EXPECT_STREQ(std::getenv("CUDA_VISIBLE_DEVICES"), "5");
  see_only_own_card();
  EXPECT_STREQ(std::getenv("CUDA_VISIBLE_DEVICES"), "5") << "there is no other to choose";
  see_no_card();
  EXPECT_STREQ(std::getenv("CUDA_VISIBLE_DEVICES"), "");
  ::unsetenv("CUDA_VISIBLE_DEVICES");
  ::unsetenv("OMPI_COMM_WORLD_LOCAL_RANK");
}

}  // namespace
}  // namespace muster
