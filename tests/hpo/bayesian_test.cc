// SPDX-License-Identifier: Apache-2.0
#include "hpo/bayesian.h"

#include <cmath>
#include <functional>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/base/error.h"

namespace muster::hpo {
namespace {

Space parsed(const std::vector<std::pair<std::string, std::string>>& entries,
             const std::string& forbid = "") {
  std::vector<SpaceLine> search;
  for (const auto& [key, text] : entries) {
    search.push_back({key, text, "test"});
  }
  std::vector<SpaceLine> forbids;
  if (!forbid.empty()) {
    forbids.push_back({"forbid", forbid, "test"});
  }
  return Space::parse(search, forbids);
}

Space cube(std::size_t dimensions) {
  std::vector<std::pair<std::string, std::string>> entries;
  for (std::size_t i = 0; i < dimensions; ++i) {
    entries.emplace_back("x" + std::to_string(i), "linear 0 1");
  }
  return parsed(entries);
}

double bowl(const Config& config) {
  double sum = 0;
  for (double x : config.values) {
    sum += std::isnan(x) ? 0.1 : (x - 0.3) * (x - 0.3);
  }
  return sum;
}

/// A sweep with one trial at a time; the searcher sees everything.
struct Sweep {
  const Space& space;
  SearcherOptions options;
  BayesianSearcher searcher{space, options};
  History history{};
  std::uint64_t number = 0;
  std::size_t before = 0;
  std::vector<Proposal> proposals{};

  Proposal ask(std::span<const Config> pending = {}) {
    std::optional<Proposal> proposal = searcher.propose({.number = number++,
                                                         .history = &history,
                                                         .seen = history.size(),
                                                         .seen_before = before,
                                                         .pending = pending});
    before = history.size();
    proposals.push_back(*proposal);
    return *proposal;
  }
  void tell(const Config& config, double value, bool failed = false, double resource = 0.0) {
    history.append({.trial = history.size(),
                    .config = config,
                    .resource = resource,
                    .value = value,
                    .failed = failed});
  }
  void run(std::size_t trials, const std::function<double(const Config&)>& function) {
    for (std::size_t i = 0; i < trials; ++i) {
      const Config config = ask().config;
      tell(config, function(config));
    }
  }
  double best() const {
    double least = std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < history.size(); ++i) {
      least = history[i].failed ? least : std::min(least, history[i].value);
    }
    return least;
  }
};

TEST(BayesianSearcher, BeginsAtTheMiddleThenSpreadsThenModels) {
  const Space space = cube(3);
  Sweep sweep{space, {.seed = 1}};
  sweep.run(12, bowl);
  EXPECT_EQ(sweep.proposals[0].config.values, (std::vector<double>{0.5, 0.5, 0.5}));
  EXPECT_EQ(sweep.proposals[0].origin, "start");
  EXPECT_EQ(sweep.proposals[9].origin, "sobol");
  EXPECT_EQ(sweep.proposals[10].origin, "model");
  EXPECT_EQ(sweep.proposals[10].seen, 10U);
  EXPECT_THAT(sweep.proposals[10].state, testing::StartsWith("gp 2 10 "));
}

TEST(BayesianSearcher, FindsTheBottomOfABowlFarBetterThanChance) {
  const Space space = cube(5);
  Sweep sweep{space, {.seed = 3}};
  sweep.run(45, bowl);
  EXPECT_LT(sweep.best(), 1e-3);  // the best of 45 random points: about 0.1
}

TEST(BayesianSearcher, TheSameSeedGivesTheSameSweepAndAnotherAnother) {
  const Space space = cube(2);
  Sweep a{space, {.seed = 8}};
  Sweep b{space, {.seed = 8}};
  Sweep c{space, {.seed = 9}};
  a.run(20, bowl);
  b.run(20, bowl);
  c.run(20, bowl);
  for (std::size_t i = 0; i < 20; ++i) {
    EXPECT_EQ(a.proposals[i].config, b.proposals[i].config);
  }
  EXPECT_FALSE(a.proposals[15].config == c.proposals[15].config);
}

/// Replay: at every step a fresh searcher that was given the last state proposes the same bits.
TEST(BayesianSearcher, ARestoredSearcherProposesTheSameBits) {
  const Space space = parsed({{"x", "log 1e-4 1"}, {"n", "int 1 9"}, {"k", "choice a b c"}});
  Sweep sweep{space, {.seed = 4}};
  std::string state;
  std::size_t before = 0;
  for (int i = 0; i < 40; ++i) {
    BayesianSearcher fresh(space, {.seed = 4});
    if (!state.empty()) {
      fresh.restore(state);
    }
    const std::optional<Proposal> again = fresh.propose({.number = sweep.number,
                                                         .history = &sweep.history,
                                                         .seen = sweep.history.size(),
                                                         .seen_before = before,
                                                         .pending = {}});
    before = sweep.history.size();
    const Proposal proposal = sweep.ask();
    ASSERT_EQ(again->config, proposal.config) << i;
    ASSERT_EQ(again->state, proposal.state);
    state = proposal.state.empty() ? state : proposal.state;
    sweep.tell(proposal.config, bowl(proposal.config));
  }
}

TEST(BayesianSearcher, ARestoredSearcherProposesTheSameBitsBetweenRefits) {
  const Space space = cube(2);
  Sweep sweep{space, {.seed = 4}};
  Random random(1, 0);
  for (int i = 0; i < 230; ++i) {
    const Config config = space.sample(random);
    sweep.tell(config, bowl(config));
  }
  sweep.number = 230;
  std::string state = sweep.ask().state;
  ASSERT_FALSE(state.empty());
  for (int i = 0; i < 2; ++i) {
    sweep.tell(space.sample(random), 0.4 + 0.1 * i);
  }
  BayesianSearcher fresh(space, {.seed = 4});
  fresh.restore(state);
  const std::optional<Proposal> again = fresh.propose(
      {.number = 231, .history = &sweep.history, .seen = 232, .seen_before = 230, .pending = {}});
  const Proposal proposal = sweep.ask();
  EXPECT_TRUE(proposal.state.empty()) << "1 % growth is not reached: no refit";
  EXPECT_EQ(again->config, proposal.config);
}

TEST(BayesianSearcher, RefusesTheStateOfAnotherSpace) {
  const Space space = cube(2);
  BayesianSearcher searcher(space, {});
  for (const char* state :
       {"", "gp", "gp 2 5 0 0 0 -5", "gp 1 5 0 0 0 -5 0 0 0", "gp 2 -5 0 0 0 -5 0 0 0",
        "gp 2 5 0 0 x -5 0 0 0", "gp 2 5 0 0 nan -5 0 0 0"}) {
    EXPECT_THROW(searcher.restore(state), Error) << state;
  }
  EXPECT_NO_THROW(searcher.restore("gp 2 5 0 0 0 -5 0 0 0"));
}

TEST(BayesianSearcher, PendingTrialsAreKeptAwayFrom) {
  const Space space = cube(2);
  for (const Acquisition acquisition : {Acquisition::ucb, Acquisition::logei}) {
    Sweep sweep{space, {.seed = 2, .acquisition = acquisition}};
    sweep.run(15, bowl);
    std::vector<Config> pending;
    for (int i = 0; i < 12; ++i) {
      pending.push_back(sweep.ask(pending).config);
    }
    double nearest = 1;
    for (std::size_t i = 0; i < pending.size(); ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        nearest = std::min(nearest, std::hypot(pending[i].values[0] - pending[j].values[0],
                                               pending[i].values[1] - pending[j].values[1]));
      }
    }
    EXPECT_GT(nearest, 1e-5);  // the same question without them gives the same answer twelve times
  }
}

TEST(BayesianSearcher, IdleQuestionsExploreMostOfTheTime) {
  const Space space = cube(2);
  Sweep sweep{space, {.seed = 2}};
  sweep.run(15, bowl);
  std::vector<Config> pending{sweep.ask().config};
  int explored = 0;
  for (int i = 0; i < 40; ++i) {
    explored += sweep.ask(pending).origin == "explore" ? 1 : 0;
  }
  EXPECT_GT(explored, 20);
  EXPECT_LT(explored, 40);
}

TEST(BayesianSearcher, ThousandPendingTrialsAreBorne) {
  const Space space = cube(3);
  Sweep sweep{space, {.seed = 2}};
  sweep.run(12, bowl);
  Random random(1, 0);
  std::vector<Config> pending;
  for (int i = 0; i < 1000; ++i) {
    pending.push_back(space.sample(random));
  }
  EXPECT_TRUE(space.allows(sweep.ask(pending).config));
}

TEST(BayesianSearcher, FailuresAreLearntFrom) {
  const Space space = cube(1);
  Sweep sweep{space, {.seed = 6}};
  for (int i = 0; i < 40; ++i) {
    const Config config = sweep.ask().config;
    const bool fails = config.values[0] > 0.5;
    sweep.tell(config, fails ? std::nan("") : 1.0 - config.values[0], fails);
  }
  int late_failures = 0;
  for (std::size_t i = 20; i < 40; ++i) {
    late_failures += sweep.history[i].failed ? 1 : 0;
  }
  EXPECT_LT(late_failures, 10);
  EXPECT_LT(sweep.best(), 0.52);
}

TEST(BayesianSearcher, ASweepWhereEverythingFailsGoesOn) {
  const Space space = cube(2);
  Sweep sweep{space, {.seed = 6}};
  for (int i = 0; i < 30; ++i) {
    sweep.tell(sweep.ask().config, std::nan(""), true);
  }
  EXPECT_EQ(sweep.history.size(), 30U);
}

TEST(BayesianSearcher, ListsOrdersAndChildrenUnderTheModel) {
  const Space space = parsed({{"kind", "choice mlp cnn tree"},
                              {"depth", "int 1 8 if kind == cnn"},
                              {"width", "log 1e-3 1 if kind == mlp"},
                              {"level", "order 1 2 3 4"},
                              {"rate", "log 1e-5 1"}},
                             "kind == tree and level == 4");
  const auto loss = [&](const Config& config) {
    const double kind = config.values[0] == 1.0 ? 0.2 * std::abs(config.values[1] - 6) : 2.0;
    return kind + 0.3 * std::abs(config.values[3] - 2) +
           std::pow(std::log10(config.values[4]) + 3, 2) / 4;
  };
  Sweep sweep{space, {.seed = 5}};
  sweep.run(60, loss);
  EXPECT_LT(sweep.best(), 0.02);
  for (const Proposal& proposal : sweep.proposals) {
    EXPECT_TRUE(space.allows(proposal.config));
    EXPECT_EQ(space.config(space.params(proposal.config)), proposal.config);
  }
}

TEST(BayesianSearcher, NeverRepeatsItselfAndEndsWithAFiniteDeterministicSpace) {
  const Space space =
      parsed({{"a", "choice x y z"}, {"n", "int 1 4"}, {"m", "order 1 2 if a == x"}});
  BayesianSearcher searcher(space, {.seed = 1, .deterministic = true});
  History history;
  std::set<std::uint64_t> seen;
  std::uint64_t number = 0;
  for (;; ++number) {
    const std::optional<Proposal> proposal = searcher.propose({.number = number,
                                                               .history = &history,
                                                               .seen = history.size(),
                                                               .seen_before = 0,
                                                               .pending = {}});
    if (!proposal) {
      break;
    }
    ASSERT_TRUE(seen.insert(space.hash(proposal->config)).second) << number;
    history.append({.trial = number,
                    .config = proposal->config,
                    .resource = 0,
                    .value = proposal->config.values[1],
                    .failed = false});
  }
  EXPECT_EQ(number, *space.cardinality());
}

TEST(BayesianSearcher, AFiniteNoisySpaceMayBeRepeatedOnceItIsExhausted) {
  const Space space = parsed({{"n", "int 1 4"}});
  Sweep sweep{space, {.seed = 1}};
  sweep.run(12, [](const Config& config) { return config.values[0]; });
  EXPECT_EQ(sweep.history.size(), 12U);
}

TEST(BayesianSearcher, ASpaceOfConstantsIsOneTrial) {
  const Space space = parsed({{"a", "const 3"}, {"b", "int 2 2"}});
  Sweep sweep{space, {.seed = 1, .deterministic = true}};
  const Proposal first = sweep.ask();
  sweep.tell(first.config, 1.0);
  EXPECT_FALSE(sweep.searcher.propose(
      {.number = 1, .history = &sweep.history, .seen = 1, .seen_before = 0, .pending = {}}));
}

TEST(BayesianSearcher, PriorsDrawTheFirstProposalsAndFadeAgainstEvidence) {
  const Space space = parsed({{"x", "linear 0 1 prior 0.9 0.2"}});
  Sweep sweep{space, {.seed = 1}};
  EXPECT_NEAR(sweep.ask().config.values[0], 0.9, 0.15);
  sweep.number = 0;
  sweep.run(40, [](const Config& config) { return std::pow(config.values[0] - 0.6, 2); });
  EXPECT_LT(sweep.best(), 1e-3);
}

TEST(BayesianSearcher, ResultsOfLowRungsInformTheTop) {
  const Space space = cube(2);
  Sweep sweep{space, {.seed = 1, .min_resource = 1, .max_resource = 27}};
  Random random(3, 0);
  for (int i = 0; i < 60; ++i) {  // cheap results alone, with a constant handicap
    const Config config = space.sample(random);
    sweep.tell(config, bowl(config) + 0.5, false, 1.0);
  }
  sweep.number = 60;
  for (int i = 0; i < 5; ++i) {
    const Config config = sweep.ask().config;
    sweep.tell(config, bowl(config), false, 27.0);
  }
  EXPECT_LT(sweep.best(), 0.02);
}

TEST(BayesianSearcher, ALongSweepTurnsToARegionAndGoesOnImproving) {
  const Space space = cube(4);
  Sweep sweep{space, {.seed = 1, .exact_until = 60}};
  sweep.run(100, [](const Config& config) {
    return bowl(config) + 0.05 * std::sin(40 * config.values[0]);
  });
  EXPECT_EQ(sweep.proposals[61].origin, "region");
  EXPECT_LT(sweep.best(), -0.03);
}

TEST(MakeSearcher, KnowsItsNames) {
  const Space space = parsed({{"n", "int 1 4"}});
  for (const char* name : {"bayesian", "random", "sobol", "grid"}) {
    EXPECT_TRUE(make_searcher(name, space, {})->propose({.number = 0}));
  }
  try {
    make_searcher("bayesan", space, {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::bad_input);
    EXPECT_THAT(error.what(), testing::HasSubstr("did you mean 'bayesian'?"));
  }
}

}  // namespace
}  // namespace muster::hpo
