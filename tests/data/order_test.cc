// SPDX-License-Identifier: Apache-2.0
#include "runtime/data/order.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "runtime/base/error.h"

namespace muster {
namespace {

using testing::Each;

std::vector<int> counts_of(const SampleOrder& order) {
  std::vector<int> counts(order.rows());
  for (std::uint64_t i = 0; i < order.rows(); ++i) {
    ++counts.at(order(i));
  }
  return counts;
}

TEST(SampleOrder, GivesEveryRowExactlyOnce) {
  for (const std::uint64_t rows : {1, 2, 3, 4, 5, 7, 8, 9, 100, 255, 256, 257, 1797}) {
    for (std::uint64_t epoch = 0; epoch < 3; ++epoch) {
      EXPECT_THAT(counts_of(SampleOrder(rows, 42, epoch)), Each(1))
          << rows << " rows, epoch " << epoch;
    }
  }
}

TEST(SampleOrder, GivesEveryRowOnceInBlocksToo) {
  for (const std::uint64_t rows : {1, 7, 64, 65, 100, 128, 1000, 1001}) {
    for (const std::uint64_t window : {1, 2, 3, 100}) {
      const SampleOrder order(rows, 7, 1,
                              {.shuffle = true, .block_rows = 16, .window_blocks = window});
      EXPECT_THAT(counts_of(order), Each(1)) << rows << " rows, window " << window;
    }
  }
}

TEST(SampleOrder, KeepsToTheBlocksOfAWindow) {
  const SampleOrder order(1000, 3, 0, {.shuffle = true, .block_rows = 10, .window_blocks = 4});
  for (std::uint64_t window = 0; window < 25; ++window) {
    std::vector<std::uint64_t> blocks;
    for (std::uint64_t i = 0; i < 40; ++i) {
      blocks.push_back(order(window * 40 + i) / 10);
    }
    std::ranges::sort(blocks);
    const auto tail = std::ranges::unique(blocks);
    EXPECT_EQ(tail.begin() - blocks.begin(), 4);
  }
}

TEST(SampleOrder, DependsOnSeedAndEpochAlone) {
  const SampleOrder a(1000, 1, 0);
  const SampleOrder same(1000, 1, 0);
  const SampleOrder other_seed(1000, 2, 0);
  const SampleOrder other_epoch(1000, 1, 1);
  int seed_hits = 0;
  int epoch_hits = 0;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    ASSERT_EQ(a(i), same(i));
    seed_hits += a(i) == other_seed(i);
    epoch_hits += a(i) == other_epoch(i);
  }
  EXPECT_LT(seed_hits, 12);  // one expected by chance
  EXPECT_LT(epoch_hits, 12);
}

TEST(SampleOrder, MixesLikeChance) {
  // Where rows land is uniform: chi-squared of a 10 x 10 table of (position, row) deciles over many
  // epochs, 81 degrees of freedom.
  constexpr std::uint64_t rows = 1000;
  constexpr std::uint64_t epochs = 50;
  std::vector<double> table(100, 0);
  for (std::uint64_t epoch = 0; epoch < epochs; ++epoch) {
    const SampleOrder order(rows, 9, epoch);
    for (std::uint64_t i = 0; i < rows; ++i) {
      table[i / 100 * 10 + order(i) / 100] += 1;
    }
  }
  const double expected = rows * epochs / 100.0;
  double chi_squared = 0;
  for (const double count : table) {
    chi_squared += (count - expected) * (count - expected) / expected;
  }
  EXPECT_GT(chi_squared, 40);   // neither too even (a fixed pattern)
  EXPECT_LT(chi_squared, 130);  // nor uneven
}

TEST(SampleOrder, KeepsFileOrderUnshuffledAndRefusesWhatIsOutside) {
  const SampleOrder order(5, 1, 0, {.shuffle = false});
  EXPECT_EQ(order(3), 3U);
  EXPECT_THROW(order(5), Error);
}

TEST(SampleOrder, ReachesFarPositionsOfHugeSets) {
  constexpr std::uint64_t rows = std::uint64_t{3} << 40;
  const SampleOrder order(rows, 1, 0);
  EXPECT_LT(order(rows - 1), rows);
  EXPECT_NE(order(rows - 1), order(rows - 2));
}

TEST(PartOf, CoversTheWholeForEveryNumberOfRanks) {
  for (const std::uint64_t count : {0, 1, 3, 64, 65}) {
    for (std::uint64_t parts = 1; parts < 9; ++parts) {
      std::uint64_t at = 100;
      std::uint64_t least = ~std::uint64_t{0};
      std::uint64_t most = 0;
      for (std::uint64_t part = 0; part < parts; ++part) {
        const SampleRange range = part_of({.first = 100, .count = count}, part, parts);
        EXPECT_EQ(range.first, at);
        at = range.end();
        least = std::min(least, range.count);
        most = std::max(most, range.count);
      }
      EXPECT_EQ(at, 100 + count);
      EXPECT_LE(most - least, 1U);
    }
  }
}

TEST(BatchPlan, EndsWithARaggedBatchOrDropsIt) {
  const BatchPlan plan{.rows = 10, .batch = 4};
  EXPECT_EQ(plan.steps(), 3U);
  EXPECT_EQ(plan.of_step(2), (SampleRange{.first = 8, .count = 2}));
  const BatchPlan dropped{.rows = 10, .batch = 4, .drop_last = true};
  EXPECT_EQ(dropped.steps(), 2U);
  EXPECT_THROW((void)dropped.of_step(2), Error);
}

TEST(ShardsOf, GivesEveryRankConsecutiveShards) {
  EXPECT_EQ(shards_of(0, 3, 4), (SampleRange{.first = 0, .count = 2}));
  EXPECT_EQ(shards_of(1, 3, 4), (SampleRange{.first = 2, .count = 1}));
  EXPECT_EQ(shards_of(2, 3, 4), (SampleRange{.first = 3, .count = 1}));
}

TEST(ShardsOf, MakesTheSamplesOfARankConsecutiveForAnyRanks) {
  const SampleRange whole{.first = 40, .count = 10};
  for (std::uint64_t ranks = 1; ranks <= 4; ++ranks) {
    std::uint64_t at = 40;
    for (std::uint64_t rank = 0; rank < ranks; ++rank) {
      const SampleRange mine = shards_of(rank, ranks, 4);
      for (std::uint64_t shard = mine.first; shard < mine.end(); ++shard) {
        EXPECT_EQ(part_of(whole, shard, 4).first, at);
        at = part_of(whole, shard, 4).end();
      }
    }
    EXPECT_EQ(at, 50U);
  }
}

}  // namespace
}  // namespace muster
