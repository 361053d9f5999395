// SPDX-License-Identifier: Apache-2.0
#include "hpo/branches.h"

#include <gtest/gtest.h>

#include <cmath>

#include "runtime/base/random.h"

namespace muster::hpo {
namespace {

Space nested() {
  const std::vector<SpaceLine> search = {{"model", "choice linear net", "test:1"},
                                         {"layers", "int 1 4 if model == net", "test:2"},
                                         {"dropout", "linear 0 1 if model == net", "test:3"},
                                         {"gate", "choice soft hard if layers >= 3", "test:4"},
                                         {"heat", "log 1e-3 1 if layers >= 3", "test:5"},
                                         {"rate", "log 1e-4 1", "test:6"}};
  return Space::parse(search);
}

Config net(const Space& space, const std::string& gate, const std::string& heat) {
  return space.config({{"model", "net"},
                       {"layers", "3"},
                       {"dropout", "0.5"},
                       {"gate", gate},
                       {"heat", heat},
                       {"rate", "0.01"}});
}

void learn(History& history, const Config& config, double value, bool failed = false) {
  history.append({.trial = history.size(),
                  .config = config,
                  .resource = 0.0,
                  .value = value,
                  .failed = failed});
}

TEST(Branches, ASpaceWithoutConditionsHasNone) {
  const std::vector<SpaceLine> search = {{"x", "linear 0 1", "test:1"}};
  EXPECT_TRUE(Branches(Space::parse(search)).is_empty());
  EXPECT_FALSE(Branches(nested()).is_empty());
}

TEST(Branches, ABranchWithoutResultsIsDrawnFromItsPriorAndTheRestStays) {
  const Space space = nested();
  const Branches branches(space);
  const History history;
  Random random(3);
  int soft = 0;
  int deep = 0;
  for (int i = 0; i < 400; ++i) {
    const Config drawn = branches.redraw(net(space, "soft", "0.1"), history, 0, random);
    EXPECT_EQ(space.config(space.params(drawn)), drawn) << "conditions hold";
    EXPECT_EQ(drawn.values[0], 1.0);
    EXPECT_EQ(drawn.values[5], 0.01);
    deep += std::isnan(drawn.values[3]) ? 0 : 1;
    soft += drawn.values[3] == 0.0 ? 1 : 0;
  }
  EXPECT_NEAR(deep / 400.0, 0.5, 0.12);  // layers 3 or 4 of 1 to 4
  EXPECT_NEAR(soft / static_cast<double>(deep), 0.5, 0.12);
}

TEST(Branches, AShallowBranchWithEnoughResultsIsLeftToTheModel) {
  const Space space = nested();
  const Branches branches(space);
  History history;
  const Config flat =
      space.config({{"model", "net"}, {"layers", "2"}, {"dropout", "0.25"}, {"rate", "0.01"}});
  Random random(3);
  for (int i = 0; i < 5; ++i) {
    learn(history, flat, 1.0);
  }
  EXPECT_FALSE(branches.redraw(flat, history, 5, random) == flat);
  learn(history, flat, 1.0);
  EXPECT_EQ(branches.redraw(flat, history, 6, random), flat);
}

TEST(Branches, ADeepBranchIsDrawnWhereItsResultsWereGood) {
  const Space space = nested();
  const Branches branches(space);
  History history;
  Random random(3);
  for (int i = 0; i < 60; ++i) {
    const double heat = std::pow(10.0, -3.0 * random.uniform());
    const bool hard = random.below(2) == 1;
    learn(history, net(space, hard ? "hard" : "soft", std::to_string(heat)),
          std::abs(std::log10(heat) + 2.0) + (hard ? 0.0 : 2.0), i % 10 == 0);
  }
  int hard = 0;
  double distance = 0.0;
  for (int i = 0; i < 200; ++i) {
    const Config drawn = branches.redraw(net(space, "soft", "1"), history, 60, random);
    hard += drawn.values[3] == 1.0 ? 1 : 0;
    distance += std::abs(std::log10(drawn.values[4]) + 2.0) / 200.0;
  }
  EXPECT_GT(hard, 150);
  EXPECT_LT(distance, 0.5);  // the prior's mean distance is 0.83
}

TEST(Branches, AForbiddenDrawLeavesTheProposalAsItWas) {
  const std::vector<SpaceLine> search = {{"a", "choice x y", "test:1"},
                                         {"b", "choice p q if a == x", "test:2"}};
  const std::vector<SpaceLine> forbid = {{"forbid", "b == q", "test:3"}};
  const Space space = Space::parse(search, forbid);
  const Config config = space.config({{"a", "x"}, {"b", "p"}});
  Random random(1);
  const History history;
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(Branches(space).redraw(config, history, 0, random), config);
  }
}

}  // namespace
}  // namespace muster::hpo
