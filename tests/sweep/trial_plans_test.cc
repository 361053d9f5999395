// What a machine's cards mean for a sweep: how many workers, trials at once, and what one holds.
// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/trial_plans.h"

#include <gtest/gtest.h>

namespace muster {
namespace {

const Machine eight_cards{{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, {"0", "1", "2", "3", "4", "5", "6", "7"}};
const Machine no_card{{0, 1, 2, 3}, {}};

SweepSettings of_job() {
  SweepSettings settings;
  settings.trial.job = "job.ini";
  return settings;
}

SweepSettings of_program() {
  SweepSettings settings;
  settings.trial.command = "./train";
  return settings;
}

TEST(TrialPlans, AWorkerACardUnlessSomebodyHasSaidHowMany) {
  auto settings = of_job();
  EXPECT_EQ(workers_on(settings, eight_cards), 8U);
  EXPECT_EQ(workers_on(settings, no_card), 1U);
  settings.trial.gpus = 0;
  EXPECT_EQ(workers_on(settings, eight_cards), 1U);
  settings.trial.gpus.reset();
  settings.tune.parallel = 3;
  EXPECT_EQ(workers_on(settings, eight_cards), 3U) << "the others would have nothing to do";
  settings.ranks = 2;
  EXPECT_EQ(workers_on(settings, eight_cards), 2U);
}

TEST(TrialPlans, TrialsAtOnceAreAsManyAsCardsMakeRoomFor) {
  auto settings = of_program();
  EXPECT_EQ(trials_at_once(settings, eight_cards), 8U);
  settings.trial.gpus = 2;
  EXPECT_EQ(trials_at_once(settings, eight_cards), 4U);
  EXPECT_EQ(slot_cost(settings, eight_cards).count, 2);
  settings.trial.per_gpu = "4";
  EXPECT_EQ(trials_at_once(settings, eight_cards), 16U);
  settings.trial.gpus = 0;
  EXPECT_EQ(trials_at_once(settings, eight_cards), 10U) << "cores count then";
  settings.trial.gpus.reset();
  settings.trial.ranks = 4;
  EXPECT_EQ(trials_at_once(settings, eight_cards), 8U) << "4 to a card, one a rank";
}

}  // namespace
}  // namespace muster
