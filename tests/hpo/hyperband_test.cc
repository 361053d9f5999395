// SPDX-License-Identifier: Apache-2.0
#include "hpo/hyperband.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/base/random.h"

namespace muster::hpo {
namespace {

using testing::ElementsAre;
using Rung = BracketPlan::Rung;

SchedulerOptions paper() {
  return {.min_resource = 1, .max_resource = 81, .eta = 3};
}

TEST(Hyperband, TabulatesThePapersBrackets) {
  const auto table = bracket_table(1, 81, 3);
  ASSERT_EQ(table.size(), 5u);
  EXPECT_THAT(table[0].rungs,
              ElementsAre(Rung{81, 1}, Rung{27, 3}, Rung{9, 9}, Rung{3, 27}, Rung{1, 81}));
  EXPECT_THAT(table[1].rungs, ElementsAre(Rung{34, 3}, Rung{11, 9}, Rung{3, 27}, Rung{1, 81}));
  EXPECT_THAT(table[2].rungs, ElementsAre(Rung{15, 9}, Rung{5, 27}, Rung{1, 81}));
  EXPECT_THAT(table[3].rungs, ElementsAre(Rung{8, 27}, Rung{2, 81}));
  EXPECT_THAT(table[4].rungs, ElementsAre(Rung{5, 81}));
}

TEST(Hyperband, TabulatesOtherRatios) {
  const auto table = bracket_table(1, 16, 2);
  ASSERT_EQ(table.size(), 5u);
  EXPECT_THAT(table[0].rungs,
              ElementsAre(Rung{16, 1}, Rung{8, 2}, Rung{4, 4}, Rung{2, 8}, Rung{1, 16}));
  EXPECT_EQ(bracket_table(1, 81, 3, 2).size(), 2u);
  EXPECT_THAT(bracket_table(1, 52, 3)[0].rungs,  // R eta^-s, not r_min eta^k
              ElementsAre(Rung{27, 2}, Rung{9, 6}, Rung{3, 17}, Rung{1, 52}));
}

/// Runs `workers` at once, in random order of completion; trial t has loss t at every resource.
struct Outcome {
  std::map<double, int> runs_to;
  std::vector<TrialId> completed;
  TrialId trials = 0;
};
Outcome run_sweep(Scheduler& hyperband, std::size_t workers, TrialId max_trials, double failures,
                  std::uint64_t seed) {
  Random random(seed);
  Outcome run;
  std::vector<std::pair<TrialId, double>> running;
  while (true) {
    const Offer offer = running.size() < workers
                            ? hyperband.offer({.may_start = run.trials < max_trials})
                            : Offer{.kind = Offer::Kind::wait};
    if (offer.kind != Offer::Kind::wait) {
      const TrialId trial = offer.kind == Offer::Kind::fresh ? ++run.trials : offer.trial;
      hyperband.start(trial, offer.bracket, offer.to);
      running.push_back({trial, offer.to});
      ++run.runs_to[offer.to];
      continue;
    }
    if (running.empty()) {
      return run;
    }
    const std::size_t which = random.below(running.size());
    const auto [trial, to] = running[which];
    running.erase(running.begin() + static_cast<std::ptrdiff_t>(which));
    if (random.uniform() < failures) {
      hyperband.end(trial, TrialState::failed);
      continue;
    }
    const Verdict verdict = hyperband.judge(trial, to, trial);
    hyperband.record(trial, to, trial, verdict);
    if (verdict.decision == Decision::complete) {
      run.completed.push_back(trial);
    }
  }
}

TEST(Hyperband, OneRoundRunsExactlyTheTable) {
  for (const std::size_t workers : {std::size_t{1}, std::size_t{4}, std::size_t{64}}) {
    Hyperband hyperband(paper());
    const Outcome run = run_sweep(hyperband, workers, 143, 0.0, 7);
    EXPECT_EQ(run.trials, 143u);
    EXPECT_EQ(run.runs_to.at(1), 81);
    EXPECT_EQ(run.runs_to.at(3), 27 + 34);
    EXPECT_EQ(run.runs_to.at(9), 9 + 11 + 15);
    EXPECT_EQ(run.runs_to.at(27), 3 + 3 + 5 + 8);
    EXPECT_EQ(run.runs_to.at(81), 1 + 1 + 1 + 2 + 5);
  }
}

TEST(Hyperband, TheBestOfARungGoOn) {
  Hyperband hyperband(paper());
  const Outcome run = run_sweep(hyperband, 1, 143, 0.0, 3);
  EXPECT_THAT(run.completed, ElementsAre(1, 82, 116, 131, 132, 139, 140, 141, 142, 143));
}

TEST(Hyperband, AShortSweepPromotesWhatItHas) {
  Hyperband hyperband(paper());
  const Outcome run = run_sweep(hyperband, 3, 9, 0.0, 3);
  EXPECT_EQ(run.runs_to.at(1), 9);
  EXPECT_EQ(run.runs_to.at(3), 3);
  EXPECT_EQ(run.runs_to.at(9), 1);
  EXPECT_EQ(run.runs_to.at(81), 1);  // someone always reaches the full resource
  EXPECT_THAT(run.completed, ElementsAre(1));
}

TEST(Hyperband, FailuresDoNotHoldUpARung) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    Hyperband hyperband(paper());
    const Outcome run = run_sweep(hyperband, 1 + seed % 9, 200, 0.3, seed);
    EXPECT_EQ(run.trials, 200u) << "seed " << seed;
    EXPECT_FALSE(run.completed.empty()) << "seed " << seed;
  }
}

TEST(Hyperband, EveryTrialOfARungMayFail) {
  Hyperband hyperband(paper());
  const Outcome run = run_sweep(hyperband, 5, 300, 1.0, 1);
  EXPECT_EQ(run.trials, 300u);
  EXPECT_TRUE(run.completed.empty());
}

TEST(Hyperband, TrialsThatCannotPauseAreStoppedInAllBrackets) {
  SchedulerOptions options = paper();
  options.resumes = false;
  const auto scheduler = make_scheduler("hyperband", options);
  std::map<double, int> first;
  for (TrialId trial = 1; trial <= 143; ++trial) {
    const Offer offer = scheduler->offer({});
    ASSERT_EQ(offer.kind, Offer::Kind::fresh);
    scheduler->start(trial, offer.bracket, offer.to);
    ++first[offer.to];
  }
  EXPECT_EQ(first.size(), 5u);
  EXPECT_GT(first.at(1), first.at(81));
}

}  // namespace
}  // namespace muster::hpo
