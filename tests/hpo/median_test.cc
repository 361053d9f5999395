// SPDX-License-Identifier: Apache-2.0
#include "hpo/median.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/base/random.h"

namespace muster::hpo {
namespace {

void run_complete(Median& median, TrialId trial, const std::vector<double>& losses) {
  median.start(trial, 0, no_limit);
  for (std::size_t i = 0; i < losses.size(); ++i) {
    median.record(trial, static_cast<double>(i + 1), losses[i], {});
  }
  median.end(trial, TrialState::complete);
}

/// Five completed curves whose running averages at the second report are 1, 2, 3, 4, 5.
Median with_five(SchedulerOptions options = {}) {
  Median median(options);
  for (TrialId trial = 1; trial <= 5; ++trial) {
    run_complete(median, trial, {trial + 1.0, trial - 1.0});
  }
  return median;
}

Decision second_report(Median& median, double first, double second) {
  median.start(9, 0, no_limit);
  median.record(9, 1, first, {});
  return median.judge(9, 2, second).decision;
}

TEST(Median, StopsAValueWorseThanTheMedianOfRunningAverages) {
  Median median = with_five();
  EXPECT_EQ(second_report(median, 0, 3.1), Decision::stop);
}

TEST(Median, ATieGoesOn) {
  Median median = with_five();
  EXPECT_EQ(second_report(median, 0, 3.0), Decision::keep_going);
}

TEST(Median, ComparesTheValueAndNotItsOwnAverage) {
  Median median = with_five();
  EXPECT_EQ(second_report(median, 100, 2.9), Decision::keep_going);
}

TEST(Median, NegatedLossesServeAnObjectiveToBeMaximised) {
  Median median({});
  for (TrialId trial = 1; trial <= 5; ++trial) {  // accuracies 0.1 .. 0.5
    run_complete(median, trial, {-0.1 * trial, -0.1 * trial});
  }
  EXPECT_EQ(second_report(median, 0, -0.29), Decision::stop);
  EXPECT_EQ(median.judge(9, 2, -0.31).decision, Decision::keep_going);
}

TEST(Median, SparesTheFirstReportAndNeedsFiveTrials) {
  Median median = with_five();
  median.start(9, 0, no_limit);
  EXPECT_EQ(median.judge(9, 1, 1e9).decision, Decision::keep_going);
  Median few({});
  for (TrialId trial = 1; trial <= 4; ++trial) {
    run_complete(few, trial, {1, 1});
  }
  EXPECT_EQ(second_report(few, 1, 1e9), Decision::keep_going);
}

TEST(Median, OnlyTrialsThatGotThisFarCount) {
  Median median = with_five();
  run_complete(median, 6, {0.0});  // too short for the second report
  EXPECT_EQ(second_report(median, 0, 3.0), Decision::keep_going);
  run_complete(median, 7, {0.0, 0.0, 7.0});  // longer: counts, and the median falls to 2.5
  EXPECT_EQ(median.judge(9, 2, 2.6).decision, Decision::stop);
  EXPECT_EQ(median.judge(9, 2, 2.5).decision, Decision::keep_going);
}

TEST(Median, TrialsThatWereStoppedOrFailedDoNotCount) {
  Median median = with_five();
  for (const TrialState state : {TrialState::stopped, TrialState::failed}) {
    median.start(20, 0, no_limit);
    median.record(20, 1, -50, {});
    median.record(20, 2, -50, {});
    median.end(20, state);
  }
  EXPECT_EQ(second_report(median, 0, 3.0), Decision::keep_going);
}

TEST(Median, KnobsMoveTheQuantileThePeersAndTheGrace) {
  Median best_fifth = with_five({.quantile = 0.25});
  EXPECT_EQ(second_report(best_fifth, 0, 2.1), Decision::stop);
  Median patient = with_five({.grace = 2});
  EXPECT_EQ(second_report(patient, 0, 1e9), Decision::keep_going);
  Median sixth = with_five({.peers = 6});
  EXPECT_EQ(second_report(sixth, 0, 1e9), Decision::keep_going);
}

TEST(Median, AgreesWithSortingOverRandomCurves) {
  Random random(11);
  Median median({.quantile = 0.5, .peers = 1, .grace = 0});
  std::vector<double> values;
  for (TrialId trial = 1; trial <= 300; ++trial) {
    const double value = static_cast<double>(random.below(50));
    run_complete(median, trial, {value});
    values.push_back(value);
    std::ranges::sort(values);
    const std::size_t n = values.size();
    const double middle = 0.5 * (values[(n - 1) / 2] + values[n / 2]);
    median.start(1000, 0, no_limit);
    ASSERT_EQ(median.judge(1000, 1, middle).decision, Decision::keep_going);
    ASSERT_EQ(median.judge(1000, 1, middle + 0.01).decision, Decision::stop);
  }
}

TEST(Scheduler, RefusesMoreBracketsThanThereAre) {
  for (const std::string name : {"asha", "hyperband"}) {
    for (const bool resumes : {false, true}) {
      SchedulerOptions options{.max_resource = 27, .brackets = 4, .resumes = resumes};
      EXPECT_EQ(make_scheduler(name, options)->rungs().size(), 4U);
      options.brackets = 5;
      try {
        make_scheduler(name, options);
        FAIL() << name;
      } catch (const Error& error) {
        EXPECT_EQ(error.fault(), Fault::bad_input);
        EXPECT_NE(std::string(error.what())
                      .find("tune.brackets = 5 is more than there are: from 1 to 27 in steps of "
                            "tune.eta = 3 there are 4"),
                  std::string::npos)
            << error.what();
      }
    }
  }
}

TEST(Scheduler, RefusesPopulationBasedTrainingByNameAndProposesTheNearest) {
  try {
    make_scheduler("pbt", {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("population-based"), std::string::npos);
  }
  try {
    make_scheduler("ahsa", {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("did you mean 'asha'"), std::string::npos);
  }
}

TEST(Scheduler, FifoRunsEveryTrialToTheFullResource) {
  const auto fifo = make_scheduler("fifo", {.max_resource = 10});
  EXPECT_EQ(fifo->offer({}).to, 10.0);
  EXPECT_EQ(fifo->judge(1, 9, 1e9).decision, Decision::keep_going);
  EXPECT_EQ(fifo->judge(1, 10, 1e9).decision, Decision::complete);
  EXPECT_EQ(make_scheduler("fifo", {})->offer({}).to, no_limit);
}

}  // namespace
}  // namespace muster::hpo
