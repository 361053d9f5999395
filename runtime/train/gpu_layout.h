/// BucketPlan and chunks_of: where gradients go on GPUs: buckets, which are ranges of the arena in
/// the order in which gradients arrive, and chunks, which are what one block of a kernel works on.
/// Pure arithmetic, equal on every rank.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "runtime/gpu/jobs.h"
#include "runtime/train/segments.h"

namespace muster {

/// Cuts the arena. Every bucket is a whole number of `alignment` elements for each rank, so that
/// any world size divides it; a segment may lie in several.
class BucketPlan {
 public:
  static constexpr std::size_t alignment = 64;
  /// Segments are expected to lie in the order in which their gradients arrive. The first bucket is
  /// small, so that the exchange begins early, unless a rank alone has only one.
  BucketPlan(const SegmentTable& table, std::size_t bytes, std::size_t element_bytes,
             std::size_t ranks);

  const std::vector<Range>& buckets() const { return buckets_; }
  /// Rank `rank`'s part of a bucket, after a reduce-scatter.
  Range part(std::size_t bucket, std::size_t rank) const;
  std::size_t ranks() const { return ranks_; }

  /// Forgets what has arrived.
  void begin();
  /// This segment's gradient is there: the buckets that are complete now, in order. Frozen segments
  /// never arrive and are not waited for.
  std::vector<std::size_t> arrived(std::size_t segment);
  /// What is not complete when backward is over (a parameter without gradient), in order.
  std::vector<std::size_t> rest();

 private:
  std::vector<Range> buckets_;
  std::vector<std::vector<std::size_t>> buckets_of_;  // for each segment
  std::vector<std::size_t> segments_in_;              // for each bucket, without frozen ones
  std::vector<std::size_t> missing_;
  std::vector<bool> has_arrived_;
  std::size_t next_ = 0;  // buckets go in order, whatever completes first
  std::size_t ranks_;
};

/// The ranges that a rank updates: the whole arena, or with ZeRO-1 its part of every bucket.
std::vector<Range> own_ranges(const BucketPlan& plan, std::size_t capacity, std::size_t rank,
                              bool is_sharded);

/// The ranges cut into chunks of one segment each; state lies one range after the other. `blocks`:
/// how many chunks there should be at least, so that a card is busy.
std::vector<Chunk> chunks_of(const SegmentTable& table, const std::vector<Range>& ranges,
                             std::size_t blocks = 1056);

}  // namespace muster
