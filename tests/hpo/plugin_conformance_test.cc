// What every searcher and scheduler keeps to, whoever wrote it. The built-in ones and the worked
// example run through it; MUSTER_PLUGIN=path/to/libmine.so adds one's own.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "hpo/coordinator.h"
#include "hpo/plugin.h"
#include "hpo/simulated_runner.h"
#include "runtime/base/error.h"
#include "tests/hpo/sweep_fixture.h"

namespace muster::hpo {
namespace {

using testing::HasSubstr;

std::vector<std::string> parts(std::vector<std::string> names) {
  names.push_back(std::string("plugin:") + SHRINKING);
  if (const char* const own = std::getenv("MUSTER_PLUGIN")) {
    names.push_back(std::string("plugin:") + own);
  }
  return names;
}

Space mixed_space() {
  const std::vector<SpaceLine> lines = {{"lr", "log 1e-4 1e-1", "test:1"},
                                        {"depth", "int 1 8", "test:2"},
                                        {"kind", "choice mlp cnn", "test:3"},
                                        {"width", "order 4 8 16 if kind == cnn", "test:4"}};
  return Space::parse(lines);
}

double value_of(const Config& config) {
  return std::abs(std::log10(config.values[0]) + 2.0) + config.values[1];
}

class SearcherConformance : public testing::TestWithParam<std::string> {
 protected:
  /// What a question is answered with after `count` results; `restored` forgets everything but the
  /// last state before each.
  std::vector<Config> proposals(std::size_t count, bool restored) const {
    const Space space = mixed_space();
    const SearcherOptions options{.seed = 5};
    auto searcher = make_searcher(GetParam(), space, options);
    History history;
    std::vector<Config> result;
    std::string state;
    for (std::size_t i = 0; i < count; ++i) {
      if (restored) {
        searcher = make_searcher(GetParam(), space, options);
        if (!state.empty()) {
          searcher->restore(state);
        }
      }
      const auto proposal = searcher->propose({.number = i,
                                               .history = &history,
                                               .seen = history.size(),
                                               .seen_before = history.size() - (i > 0 ? 1 : 0)});
      EXPECT_TRUE(proposal);
      state = proposal->state.empty() ? state : proposal->state;
      EXPECT_TRUE(space.allows(proposal->config));
      EXPECT_LE(proposal->seen, history.size());
      EXPECT_EQ(space.config(space.params(proposal->config)), proposal->config);
      result.push_back(proposal->config);
      history.append({.trial = i + 1,
                      .config = proposal->config,
                      .resource = 0.0,
                      .value = value_of(proposal->config),
                      .failed = i % 7 == 3});
    }
    return result;
  }
};

TEST_P(SearcherConformance, ProposesWhatTheSpaceAllowsAlsoAmongFailures) {
  EXPECT_EQ(proposals(25, false).size(), 25U);
}

TEST_P(SearcherConformance, IsAFunctionOfSeedQuestionAndState) {
  const std::vector<Config> once = proposals(25, false);
  EXPECT_EQ(once, proposals(25, false));
  EXPECT_EQ(once, proposals(25, true));
}

INSTANTIATE_TEST_SUITE_P(Every, SearcherConformance,
                         testing::ValuesIn(parts({"random", "sobol", "bayesian"})));

class SchedulerConformance : public SweepFixture, public testing::WithParamInterface<std::string> {
 protected:
  static StudySetup setup() {
    StudySetup setup = small_setup(GetParam(), 9);
    setup.limits.max_trials = 40;
    setup.seed = 3;
    return setup;
  }
  std::string sweep(const Path& journal) {
    VirtualClock clock;
    Study study(setup(), journal, clock, files_);
    Simulation simulation{.value = bowl};
    simulation.fault = [](const Launch& launch, double) {
      return launch.trial % 11 == 0 ? std::optional(TrialState::failed) : std::nullopt;
    };
    SimulatedRunner runner(simulation, 4, clock);
    Coordinator(study, runner, clock, {.thinks_aside = false}).run();
    return final_table(study.state());
  }
};

TEST_P(SchedulerConformance, ASweepEndsWithEveryTrialInAFinalOrPausedState) {
  const std::string table = sweep(journal());
  for (const char* const state : {" running ", " queued ", " preempted ", " evicted "}) {
    EXPECT_THAT(table, testing::Not(HasSubstr(state)));
  }
  EXPECT_THAT(table, HasSubstr("40 trials"));
}

TEST_P(SchedulerConformance, ReplayGivesTheSameStateAndTheSameOffer) {
  const std::string table = sweep(journal());
  VirtualClock clock;
  Study again(setup(), journal(), clock, files_);
  EXPECT_EQ(final_table(again.state()), table);
  EXPECT_EQ(again.next().kind, Next::Kind::done);
}

INSTANTIATE_TEST_SUITE_P(Every, SchedulerConformance,
                         testing::ValuesIn(parts({"fifo", "median", "hyperband", "asha"})));

std::string sentence(const std::string& file) {
  try {
    make_scheduler("plugin:" + file, {});
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::bad_input);
    return report(error);
  }
  return "";
}

TEST(Plugin, WhatCannotBeUsedGetsASentence) {
  EXPECT_THAT(sentence("/nowhere/libmine.so"), HasSubstr("cannot be opened"));
  EXPECT_THAT(sentence("libm.so.6"), HasSubstr("lacks MUSTER_SCHEDULER(YourClass)"));
  EXPECT_THAT(sentence(OLD_PLUGIN), HasSubstr("built against other Muster headers"));
}

}  // namespace
}  // namespace muster::hpo
