// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/live_table.h"

#include <gmock/gmock.h>

#include "tests/hpo/sweep_fixture.h"

namespace muster {
namespace {

using hpo::TrialId;
using testing::HasSubstr;

class LiveTableTest : public hpo::SweepFixture {
 protected:
  TrialId start_one() {
    study_.propose();
    return study_.launch(study_.next()).trial;
  }
  std::string best_line() const {
    return LiveTable::lines(study_.state(), 1.0, {.width = 200, .slots = 2}).at(1);
  }
  VirtualClock clock_;
  hpo::Study study_{hpo::small_setup("asha", 9), journal(), clock_, files_};
};

TEST_F(LiveTableTest, SaysHowFarTheBestHasComeUntilATrialIsComplete) {
  EXPECT_EQ(best_line(), "  best  none yet");
  const TrialId first = start_one();
  study_.tell({.trial = first, .resource = 1, .value = 0.25});
  EXPECT_THAT(best_line(), HasSubstr("best  0.25 in trial 1 (after 1 of 9 epochs): "));
  const TrialId second = start_one();
  study_.tell({.trial = second, .value = 0.5});  // worse here, but at its end
  EXPECT_THAT(best_line(), HasSubstr("best  0.5 in trial 2: "));
}

TEST_F(LiveTableTest, NoLineIsWiderThanTheTerminal) {
  const TrialId trial = start_one();
  for (double epoch = 1; epoch < 9; ++epoch) {
    study_.tell({.trial = trial, .resource = epoch / 10, .value = 1 / epoch});
  }
  for (const auto& line : LiveTable::lines(study_.state(), 1.0, {.width = 40, .slots = 2})) {
    const auto columns = std::count_if(line.begin(), line.end(), [](char c) {
      return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
    });
    EXPECT_LE(columns, 40) << line;
  }
}

TEST(Spark, RisesWhereTheGoalIsApproached) {
  EXPECT_EQ(spark({3, 2, 1}, false, 16), "▁▄█");
  EXPECT_EQ(spark({3, 2, 1}, true, 2), "▄▁");  // the last two, on the scale of all
}

}  // namespace
}  // namespace muster
