// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/segments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/base/error.h"
#include "runtime/train/update.h"

namespace muster {
namespace {

SegmentTable example(std::size_t parts) {
  const std::vector<NamedCount> parameters{
      {"layers.0.weight", 100}, {"layers.0.bias", 10}, {"norm.weight", 7}};
  return SegmentTable(parameters, parts);
}

TEST(SegmentTable, StartsEverySegmentOnALineAndCutsEqualShards) {
  for (const std::size_t parts : {1, 2, 3, 7}) {
    const SegmentTable table = example(parts);
    EXPECT_EQ(table.capacity() % parts, 0U);
    EXPECT_EQ(table.element_count(), 117U);
    std::size_t end = 0;
    for (std::size_t part = 0; part < parts; ++part) {
      EXPECT_EQ(table.shard(part).begin, end);
      EXPECT_EQ(table.shard(part).count() % SegmentTable::line, 0U);
      end = table.shard(part).end;
    }
    EXPECT_EQ(end, table.capacity());
    for (const Segment& segment : table.segments()) {
      EXPECT_EQ(segment.offset % SegmentTable::line, 0U);
      EXPECT_LE(segment.offset + segment.count, table.capacity());
    }
  }
}

TEST(SegmentTable, PiecesOfAllShardsCoverEverySegmentOnce) {
  const SegmentTable table = example(3);
  std::vector<std::size_t> covered(3);
  for (std::size_t part = 0; part < 3; ++part) {
    for (const Piece& piece : pieces_of(table, table.shard(part))) {
      covered[piece.segment] += piece.range.count();
    }
  }
  EXPECT_THAT(covered, testing::ElementsAre(100, 10, 7));
}

TEST(SegmentTable, GroupsFollowNamesAndLaterRatesWin) {
  SegmentTable table = example(1);
  table.apply({.no_decay = {"bias", "norm"},
               .freeze = {"layers.0.w*"},
               .rates = {{"layers", 0.5}, {"*.bias", 2.0}}});
  const auto& segments = table.segments();
  EXPECT_TRUE(segments[0].decays);
  EXPECT_FALSE(segments[1].decays);
  EXPECT_FALSE(segments[2].decays);
  EXPECT_TRUE(segments[0].frozen);
  EXPECT_FLOAT_EQ(segments[0].rate_factor, 0.5F);
  EXPECT_FLOAT_EQ(segments[1].rate_factor, 2.0F);
}

TEST(SegmentTable, APatternThatMatchesNothingIsTheUsersMistake) {
  SegmentTable table = example(1);
  try {
    table.apply({.freeze = {"encoder"}});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::bad_input);
    EXPECT_THAT(error.what(), testing::HasSubstr("model.freeze: 'encoder' matches no parameter"));
    EXPECT_THAT(error.what(), testing::HasSubstr("layers.0.weight"));
  }
}

}  // namespace
}  // namespace muster
