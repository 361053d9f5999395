// SPDX-License-Identifier: Apache-2.0
#include "hpo/warm_start.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "hpo/sweep_report.h"
#include "runtime/base/error.h"
#include "tests/hpo/sweep_fixture.h"

namespace muster::hpo {
namespace {

class WarmStartTest : public SweepFixture {
 protected:
  VirtualClock clock_;
  StudySetup setup_ = small_setup();
};

constexpr const char* csv =
    "trial,state,lr,depth,kind,value,note\n"
    "1,complete,0.01,4,cnn,0.25,\"a, quoted\"\n"
    "2,complete,0.001,2,mlp,0.75,\n"
    "3,failed,0.1,8,mlp,,\n"
    "4,paused,0.1,8,mlp,,\n"
    "5,complete,5,8,mlp,0.1,outside\n";

TEST_F(WarmStartTest, RowsOfACsvFileBecomeResults) {
  const EarlierResults earlier = results_in_csv(csv, "old.csv", setup_);
  ASSERT_EQ(earlier.results.size(), 3u);
  EXPECT_EQ(earlier.unusable, 2u);
  EXPECT_TRUE(earlier.results[2].failed);
  Study study(setup_, journal(), clock_, files_);
  EXPECT_EQ(add_all(study, earlier), 3u);
  EXPECT_EQ(study.state().history().size(), 3u);
  EXPECT_EQ(*study.state().best()->value, 0.25);
}

TEST_F(WarmStartTest, BadTablesGetASentence) {
  EXPECT_THROW(results_in_csv("lr,depth\n0.1,3\n", "a.csv", setup_), Error);
  try {
    results_in_csv("lr,value\n0.1,high\n", "a.csv", setup_);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("a.csv:2"), std::string::npos);
  }
}

TEST_F(WarmStartTest, AnEarlierSweepReadsBackAsItsCsvDoes) {
  Study old(setup_, directory_ / "old", clock_, files_);
  add_all(old, results_in_csv(csv, "old.csv", setup_));
  old.commit();
  EXPECT_EQ(results_in_sweep(directory_ / "old", setup_, setup_).results.size(), 3u);
  EXPECT_EQ(results_in_csv(sweep_csv(old.state()), "again", setup_).results.size(), 3u);
  StudySetup other = setup_;
  other.maximise = true;
  EXPECT_THROW(results_in_sweep(directory_ / "old", setup_, other), Error);
}

TEST_F(WarmStartTest, TransferStartsWithTheBestOfEveryParent) {
  EarlierResults one{.source = "one", .results = {}, .unusable = 0};
  EarlierResults two = one;
  one.results = {{.config = {{0.01, 1, 0}}, .resource = {}, .value = 1.0},
                 {.config = {{0.01, 2, 0}}, .resource = {}, .value = 2.0}};
  two.results = {{.config = {{0.02, 3, 0}}, .resource = {}, .value = 200.0},
                 {.config = {{0.02, 4, 0}}, .resource = {}, .value = 100.0}};
  Study study(setup_, journal(), clock_, files_);
  const EarlierResults parents[] = {one, two};
  EXPECT_EQ(enqueue_best(study, parents, 2), 2u);
  EXPECT_EQ(study.state().find(1)->config.values[1], 1.0);
  EXPECT_EQ(study.state().find(2)->config.values[1], 4.0);
}

TEST_F(WarmStartTest, TransferLendsRowsThatAreNoResults) {
  EarlierResults parent{.source = "one", .results = {}, .unusable = 0};
  for (int i = 0; i < 40; ++i) {
    parent.results.push_back(
        {.config = {{0.01, 1.0 + i % 8, 0}}, .resource = {}, .value = 1.0 * i});
  }
  setup_.searching.sources = 2;
  Study study(setup_, journal(), clock_, files_);
  const EarlierResults parents[] = {parent, parent};
  EXPECT_EQ(lend_rows(study, parents, 20), 20u);
  EXPECT_EQ(study.state().history().size(), 20u);
  EXPECT_EQ(study.state().history()[0].source, 1u);
  EXPECT_EQ(study.state().history()[19].source, 2u);
  EXPECT_EQ(study.state().history()[19].value, 36.0);
  EXPECT_TRUE(study.state().trials().empty());
  EXPECT_EQ(study.state().best(), nullptr);
  EXPECT_EQ(study.state().asked(), 0u);
}

/// The distance in decades of the best rate that 12 trials find, its optimum at 1e-2, where a
/// similar sweep on another scale had its own at `parents` (nothing: no similar sweep).
double found_after(StudySetup setup, const Path& journal, VirtualClock& clock, FileSystem& files,
                   std::optional<double> parents) {
  setup.searcher = "bayesian";
  setup.searching.sources = parents ? 1 : 0;
  setup.limits.max_trials = 12;
  Study study(setup, journal, clock, files);
  if (parents) {
    EarlierResults earlier{.source = "one", .results = {}, .unusable = 0};
    Random random(5);
    for (int i = 0; i < 60; ++i) {
      const Config config = setup.space.sample(random);
      const double rate = std::log10(config.values[0]) - *parents;
      const double depth = (config.values[1] - 4.0) / 8.0;
      earlier.results.push_back({.config = config,
                                 .resource = {},
                                 .value = 500.0 + 90.0 * (rate * rate + depth * depth)});
    }
    lend_rows(study, std::span(&earlier, 1));
  }
  double best = 1e9;
  for (Next next = study.next(); next.kind != Next::Kind::done; next = study.next()) {
    if (next.kind == Next::Kind::propose) {
      study.propose();
      continue;
    }
    const Launch launch = study.launch(next);
    const double value = bowl(launch.config, 1.0);
    study.tell({.trial = launch.trial, .value = value});
    best = std::min(best, value);
  }
  return best - 0.5;
}

TEST_F(WarmStartTest, LentRowsOfASimilarSweepSpeedTheModelAndMisleadingOnesAreOutgrown) {
  const double alone = found_after(setup_, directory_ / "alone", clock_, files_, std::nullopt);
  const double similar = found_after(setup_, directory_ / "similar", clock_, files_, -2.0);
  const double misleading = found_after(setup_, directory_ / "misleading", clock_, files_, -4.0);
  EXPECT_LT(similar, 0.5 * alone);
  EXPECT_LT(similar, 0.01);
  EXPECT_LT(misleading, 0.25);
}

TEST_F(WarmStartTest, TheReportHoldsWhatThePageDraws) {
  setup_ = small_setup("asha", 9);
  Study study(setup_, journal(), clock_, files_);
  for (int i = 0; i < 4; ++i) {
    study.propose();
    const Launch launch = study.launch(study.next(), 0);
    clock_.advance(std::chrono::seconds(2));
    study.tell({.trial = launch.trial, .resource = 1, .value = 4.0 - i, .seconds = 2.0});
  }
  const auto page = nlohmann::json::parse(sweep_report(
      study.state(), study.now(), {.resource = "epochs", .importance = {"m", {{"lr", 1.0}}}}));
  EXPECT_EQ(page["trials"].size(), 4u);
  EXPECT_EQ(page["trials"][1]["curve"][0][1], 3.0);
  EXPECT_EQ(page["keys"][0]["scale"], "log");
  EXPECT_EQ(page["rungs"][0]["entered"], 4);
  EXPECT_EQ(page["slots"][0]["spans"].size(), 4u);
  EXPECT_EQ(page["slot_seconds"], 10.0);  // the third was told to go on
  EXPECT_EQ(page["idle"], 0.0);
  EXPECT_EQ(page["importance"]["values"]["lr"], 1.0);
  const auto table = nlohmann::json::parse(sweep_json(study.state(), false));
  EXPECT_EQ(table["best"]["trial"], 4);
  EXPECT_EQ(table["goal"], "min");
  EXPECT_EQ(table["trials"][0]["params"].size(), 3u);
}

}  // namespace
}  // namespace muster::hpo
