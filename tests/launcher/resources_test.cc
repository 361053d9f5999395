// SPDX-License-Identifier: Apache-2.0
#include "launcher/engine/resources.h"

#include <gmock/gmock.h>

#include "tests/support/temporary_directory.h"

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
  EXPECT_THAT(describe(machine, divide(machine, 2), "x"), Not(HasSubstr("OVERSUBSCRIBED")));
  EXPECT_THAT(describe(machine, divide(machine, 2, 4), "x"), HasSubstr("8 threads on 2 cores"));
}

TEST(Resources, SaysWhereRanksAreNotAsManyAsCards) {
  const Machine machine{{0, 1, 2, 3}, {"0", "1"}};
  const auto line = [&](int ranks, CardUse use) {
    return describe(machine, divide(machine, ranks), "x", use);
  };
  EXPECT_THAT(line(4, CardUse::one_each),
              HasSubstr(", 4 ranks cannot share 2 GPUs: --ranks=2, or train.device=cpu"));
  EXPECT_THAT(line(1, CardUse::one_each),
              HasSubstr(", one GPU each; 1 of 2 GPUs idle (--ranks=2 uses all)"));
  EXPECT_THAT(line(4, CardUse::none), testing::EndsWith(", 2 GPUs unused"));
  EXPECT_THAT(line(1, CardUse::all_seen), testing::EndsWith(", 2 GPUs seen by each"));
  EXPECT_EQ(misfit(0, 4, ""), "");
  EXPECT_EQ(misfit(4, 4, ""), "");
}

TEST(Resources, ReadsTheNamesOfCardsAsTheDriverDoes) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> cases{
      {"2,0", {"2", "0"}},
      {"GPU-8932f937, MIG-ab/1/2", {"GPU-8932f937", "MIG-ab/1/2"}},
      {"", {}},
      {"-1", {}},
      {"1,-1,0", {"1"}},
      {"NoDevFiles", {}},  // Slurm's word for no card
      {"7,NoSuch,3", {"7"}},
      {"0,1,0", {}},
      {"1,01", {}},
      {"GPU-a,GPU-a", {}},
      {"0,NoSuch,0", {"0"}}};
  for (const auto& [setting, gpus] : cases) {
    EXPECT_EQ(visible_gpus(setting), gpus) << setting;
  }
}

TEST(Resources, CountsTheCardsThatItMayOpen) {
  const test::TemporaryDirectory machine;
  const DriverPlaces places{machine.path() / "gpus", machine.path() / "dev"};
  EXPECT_THAT(visible_gpus(std::nullopt, places), testing::IsEmpty());
  const auto add = [&](const std::string& card, const std::string& information) {
    posix_file_system().make_directory(places.cards / card);
    write_file_atomically(places.cards / card / "information", information);
  };
  add("0000:19:00.0", "Model: \t\t NVIDIA H100\nDevice Minor: \t 3\nGPU Excluded:\t No\n");
  add("0000:3b:00.0", "Model: \t\t NVIDIA H100\nDevice Minor: \t 0\n");
  add("0000:4c:00.0", "Device Minor: \t 1\n");
  add("0000:5d:00.0", "Model: \t\t Unknown\n");
  EXPECT_THAT(visible_gpus(std::nullopt, places), testing::SizeIs(4)) << "never used so far";
  posix_file_system().make_directory(places.devices);
  write_file_atomically(places.devices / "nvidiactl", "");
  write_file_atomically(places.devices / "nvidia3", "");
  write_file_atomically(places.devices / "nvidia1", "");
  write_file_atomically(places.devices / "nvidia", "");
  EXPECT_THAT(visible_gpus(std::nullopt, places), ElementsAre("0", "1"));
}

TEST(Resources, ThisMachineHasACore) {
  EXPECT_FALSE(this_machine().cpus.empty());
}

}  // namespace
}  // namespace muster
