// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/gpu_layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "runtime/base/random.h"

namespace muster {
namespace {

SegmentTable table_of(std::size_t ranks) {
  const std::vector<NamedCount> counts{
      {"a", 1000}, {"b", 70000}, {"c", 3}, {"d", 900000}, {"e", 5}};
  return {counts, ranks, BucketPlan::alignment};
}

TEST(BucketPlan, CoversTheArenaInPartsThatAnyWorldDivides) {
  for (std::size_t ranks = 1; ranks <= 9; ++ranks) {
    const SegmentTable table = table_of(ranks);
    const BucketPlan plan(table, 400000, 4, ranks);
    std::size_t at = 0;
    for (std::size_t b = 0; b < plan.buckets().size(); ++b) {
      EXPECT_EQ(plan.buckets()[b].begin, at);
      EXPECT_EQ(plan.buckets()[b].count() % (ranks * BucketPlan::alignment), 0U);
      EXPECT_EQ(plan.part(b, ranks - 1).end, plan.buckets()[b].end);
      at = plan.buckets()[b].end;
    }
    EXPECT_EQ(at, table.capacity());
    EXPECT_GT(plan.buckets().size(), 5U);
  }
}

TEST(BucketPlan, BucketsGoInOneOrderWhateverArrivesFirst) {
  const SegmentTable table = table_of(2);
  Random random(9);
  for (int round = 0; round < 50; ++round) {
    BucketPlan plan(table, 100000, 4, 2);
    std::vector<std::size_t> order(5);
    std::iota(order.begin(), order.end(), 0);
    for (std::size_t i = order.size(); i > 1; --i) {
      std::swap(order[i - 1], order[random.below(i)]);
    }
    std::vector<std::size_t> sent;
    for (const std::size_t segment : order) {
      for (const std::size_t bucket : plan.arrived(segment)) {
        sent.push_back(bucket);
      }
      EXPECT_THAT(plan.arrived(segment), testing::IsEmpty()) << "a gradient arrives once";
    }
    std::vector<std::size_t> all(plan.buckets().size());
    std::iota(all.begin(), all.end(), 0);
    const auto rest = plan.rest();
    sent.insert(sent.end(), rest.begin(), rest.end());
    EXPECT_EQ(sent, all);
  }
}

TEST(BucketPlan, WaitsForNoFrozenSegmentAndLeavesTheRestForTheEnd) {
  SegmentTable table = table_of(1);
  table.apply({.freeze = {"d"}});
  BucketPlan plan(table, 400000, 4, 1);
  std::vector<std::size_t> sent;
  for (const std::size_t segment : {0U, 1U, 2U, 4U}) {
    const auto now = plan.arrived(segment);
    sent.insert(sent.end(), now.begin(), now.end());
  }
  EXPECT_EQ(sent.size(), plan.buckets().size());
  EXPECT_THAT(plan.rest(), testing::IsEmpty());
  plan.begin();
  EXPECT_EQ(plan.rest().size(), plan.buckets().size()) << "nothing arrived";
}

TEST(Chunks, OfAllRanksCoverEverySegmentOnce) {
  constexpr std::size_t ranks = 3;
  SegmentTable table = table_of(ranks);
  table.apply({.no_decay = {"c"}, .freeze = {"e"}, .rates = {{"b", 0.5}}});
  const BucketPlan plan(table, 400000, 4, ranks);
  std::vector<int> seen(table.capacity());
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    const auto own = own_ranges(plan, table.capacity(), rank, true);
    std::vector<int> state(table.capacity() / ranks);
    for (const Chunk& chunk : chunks_of(table, own)) {
      EXPECT_EQ(chunk.at % 16, 0U) << "a chunk begins on 64 bytes";
      EXPECT_EQ(chunk.state_at % 16, 0U);
      for (std::size_t i = 0; i < chunk.count; ++i) {
        ++seen[chunk.at + i];
        ++state[chunk.state_at + i];
      }
    }
    EXPECT_LE(*std::ranges::max_element(state), 1);
  }
  for (const Segment& segment : table.segments()) {
    for (std::size_t i = segment.offset; i < segment.offset + segment.count; ++i) {
      ASSERT_EQ(seen[i], segment.frozen ? 0 : 1) << segment.name;
    }
  }
}

}  // namespace
}  // namespace muster
