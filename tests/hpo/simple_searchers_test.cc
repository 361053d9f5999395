// SPDX-License-Identifier: Apache-2.0
#include "hpo/simple_searchers.h"

#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/base/error.h"

namespace muster::hpo {
namespace {

Space small() {
  const std::vector<SpaceLine> search{{"kind", "choice a b c", "f:1"},
                                      {"n", "int 1 3", "f:2"},
                                      {"x", "linear 0 1 points 3", "f:3"},
                                      {"deep", "order 1 2 if kind == c", "f:4"}};
  const std::vector<SpaceLine> forbid{{"forbid", "kind == a and n == 1", "f:5"}};
  return Space::parse(search, forbid);
}

std::string text(const Space& space, const Config& config) {
  std::string result;
  for (const auto& [key, word] : space.params(config)) {
    result += word + " ";
  }
  return result;
}

TEST(RandomSearcher, TrialIIsAPureFunctionOfSeedAndI) {
  const Space space = small();
  RandomSearcher forward(space, 5);
  RandomSearcher backward(space, 5);
  std::vector<Config> first;
  for (std::uint64_t i = 0; i < 50; ++i) {
    first.push_back(forward.propose({.number = i})->config);
  }
  for (std::uint64_t i = 50; i-- > 0;) {
    EXPECT_EQ(backward.propose({.number = i})->config, first[i]);
  }
  EXPECT_NE(text(space, RandomSearcher(space, 6).propose({.number = 3})->config) +
                text(space, RandomSearcher(space, 6).propose({.number = 4})->config),
            text(space, first[3]) + text(space, first[4]));
}

TEST(SobolSearcher, NeverProposesWhatIsForbidden) {
  const Space space = small();
  SobolSearcher searcher(space, 1);
  for (std::uint64_t i = 0; i < 500; ++i) {
    EXPECT_TRUE(space.allows(searcher.propose({.number = i})->config));
  }
}

TEST(GridSearcher, ProposesEveryCombinationOnceAndEnds) {
  const Space space = small();
  GridSearcher searcher(space);
  std::set<std::string> seen;
  std::uint64_t number = 0;
  while (const std::optional<Proposal> proposal = searcher.propose({.number = number})) {
    EXPECT_TRUE(space.allows(proposal->config));
    EXPECT_TRUE(seen.insert(text(space, proposal->config)).second);
    ++number;
  }
  EXPECT_EQ(number, *space.cardinality());
  EXPECT_EQ(number, 2U * 3 + 3U * 3 + 3U * 3 * 2);
  EXPECT_EQ(text(space, GridSearcher(space).propose({.number = 1})->config), "a 2 0.5 ");
}

TEST(GridSearcher, NamesTheKeyThatHasNoSteps) {
  const std::vector<SpaceLine> search{{"a", "int 1 3", "f:1"}, {"lr", "log 1e-4 1", "f:2"}};
  const Space space = Space::parse(search);
  try {
    GridSearcher searcher(space);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("'lr': add 'step X' or 'points N'"));
    EXPECT_EQ(error.fault(), Fault::bad_input);
  }
}

TEST(SimpleSearchers, RefuseTheStateOfAnother) {
  const Space space = small();
  EXPECT_NO_THROW(RandomSearcher(space, 1).restore(""));
  EXPECT_THROW(RandomSearcher(space, 1).restore("gp 1"), Error);
  EXPECT_THROW(SobolSearcher(space, 1).restore("gp 1"), Error);
  EXPECT_THROW(GridSearcher(space).restore("gp 1"), Error);
}

}  // namespace
}  // namespace muster::hpo
