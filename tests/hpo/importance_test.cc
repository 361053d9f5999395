// SPDX-License-Identifier: Apache-2.0
#include "hpo/importance.h"

#include <cmath>
#include <numeric>

#include <gtest/gtest.h>

namespace muster::hpo {
namespace {

Space three() {
  const std::vector<SpaceLine> search{
      {"lr", "log 1e-4 1", "t"}, {"kind", "choice a b", "t"}, {"useless", "linear 0 1", "t"}};
  return Space::parse(search);
}

TEST(Importance, RanksWhatMattersAndAddsUpToOne) {
  const Space space = three();
  History history;
  Random random(1, 0);
  for (std::uint64_t i = 0; i < 80; ++i) {
    const Config config = space.sample(random);
    history.append({.trial = i,
                    .config = config,
                    .resource = 0,
                    .value = std::pow(std::log10(config.values[0]) + 2, 2) + 0.8 * config.values[1],
                    .failed = false});
  }
  const std::vector<Importance> result = importance(space, history, 80);
  ASSERT_EQ(result.size(), 3U);
  EXPECT_EQ(result[0].key, "lr");
  EXPECT_EQ(result[1].key, "kind");
  EXPECT_LT(result[2].share, 0.05);
  EXPECT_NEAR(
      std::accumulate(result.begin(), result.end(), 0.0,
                      [](double sum, const Importance& entry) { return sum + entry.share; }),
      1.0, 1e-12);
}

TEST(Importance, SaysNothingOfTooFewResults) {
  const Space space = three();
  History history;
  EXPECT_TRUE(importance(space, history, 0).empty());
  Random random(1, 0);
  for (std::uint64_t i = 0; i < 8; ++i) {
    history.append({.trial = i,
                    .config = space.sample(random),
                    .resource = 0,
                    .value = 1.0,
                    .failed = i >= 3});
  }
  EXPECT_TRUE(importance(space, history, 8).empty());
}

TEST(ParallelCoordinates, HasEveryTrialOnceAtItsLargestResource) {
  const Space space = three();
  History history;
  const Config config{{0.01, 1.0, 0.25}};
  history.append({.trial = 3, .config = config, .resource = 1, .value = 5, .failed = false});
  history.append({.trial = 4, .config = config, .resource = 1, .value = 6, .failed = true});
  history.append({.trial = 3, .config = config, .resource = 9, .value = 2, .failed = false});
  const ParallelCoordinates result = parallel_coordinates(space, history, 3);
  ASSERT_EQ(result.axes.size(), 3U);
  EXPECT_EQ(result.axes[0].ticks.front().label, "0.0001");
  EXPECT_EQ(result.axes[1].ticks[1].label, "b");
  ASSERT_EQ(result.lines.size(), 1U);
  EXPECT_EQ(result.lines[0].value, 2.0);
  EXPECT_NEAR(result.lines[0].positions[0], 0.5, 1e-12);
  EXPECT_NEAR(result.lines[0].positions[2], 0.25, 1e-12);
}

}  // namespace
}  // namespace muster::hpo
