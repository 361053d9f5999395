// How much of the slots' time was idle, by hand.
// SPDX-License-Identifier: Apache-2.0
#include "hpo/slot_time.h"

#include <gtest/gtest.h>

#include <map>

#include "hpo/sweep_report.h"
#include "tests/hpo/sweep_fixture.h"

namespace muster::hpo {
namespace {

class SlotTime : public SweepFixture {
 protected:
  void launch(Study& study, std::uint32_t slot) {
    study.propose();
    running_[slot] = study.launch(study.next(), slot).trial;
  }
  void end(Study& study, std::uint32_t slot) {
    study.end(running_.at(slot), TrialState::complete, "", 0.5);
  }
  void pass(int seconds) { clock_.advance(std::chrono::seconds(seconds)); }

  StudySetup setup_ = small_setup();
  VirtualClock clock_;
  std::map<std::uint32_t, TrialId> running_;
};

TEST_F(SlotTime, ASlotThatWaitsIsIdleUntilTheLastStart) {
  Study study(setup_, journal(), clock_, files_);
  study.count_slots(2);
  launch(study, 0);
  launch(study, 1);
  pass(4);
  end(study, 1);
  pass(2);  // slot 1 is empty for two of the 6 + 6 seconds
  launch(study, 1);
  EXPECT_NEAR(idle_share(study.state()), 2.0 / 12, 1e-9);
  pass(10);
  end(study, 0);
  pass(10);  // the drain is left out
  EXPECT_NEAR(idle_share(study.state()), 2.0 / 12, 1e-9);
}

TEST_F(SlotTime, ASlotThatIsNotThereIsNotIdle) {
  Study study(setup_, journal(), clock_, files_);
  study.count_slots(1);
  launch(study, 0);
  pass(1);
  study.count_slots(2);  // one more at a time is tried, for two seconds
  launch(study, 1);
  pass(2);
  study.count_slots(1);  // and given up: it is gone when its trial is
  pass(1);
  end(study, 1);
  pass(6);
  end(study, 0);
  launch(study, 0);
  EXPECT_NEAR(idle_share(study.state()), 0.0, 1e-9);
  study.commit();
  const Study again(setup_, journal(), clock_, files_);
  EXPECT_NEAR(idle_share(again.state()), 0.0, 1e-9) << "the journal has it";
}

TEST_F(SlotTime, AReasonOfSeveralLinesIsOneLineOfTheTable) {
  setup_.retries = 0;
  Study study(setup_, journal(), clock_, files_);
  study.count_slots(1);
  launch(study, 0);
  study.end(running_.at(0), TrialState::failed, "no, \"never\"\nagain");
  EXPECT_NE(sweep_csv(study.state()).find(",\"no, \"\"never\"\" again\","), std::string::npos)
      << sweep_csv(study.state());
}

}  // namespace
}  // namespace muster::hpo
