// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/gpu_layout.h"

#include <algorithm>

#include "runtime/base/error.h"

namespace muster {
namespace {

constexpr std::size_t first_bucket_bytes = std::size_t{1} << 20;

std::size_t to_whole(std::size_t value, std::size_t to) {
  return (value + to - 1) / to * to;
}

}  // namespace

BucketPlan::BucketPlan(const SegmentTable& table, std::size_t bytes, std::size_t element_bytes,
                       std::size_t ranks)
    : buckets_of_(table.segments().size()), ranks_(ranks) {
  const std::size_t unit = alignment * ranks;
  require(table.capacity() % unit == 0, "an arena that all ranks divide");
  std::size_t at = 0;
  // A rank alone that has one bucket packs it together with its norm.
  const bool is_one = ranks == 1 && table.capacity() <= bytes / element_bytes;
  std::size_t wanted = (is_one ? bytes : std::min(bytes, first_bucket_bytes)) / element_bytes;
  while (at < table.capacity()) {
    const std::size_t end = std::min(table.capacity(), at + std::max(unit, to_whole(wanted, unit)));
    buckets_.push_back({at, end});
    at = end;
    wanted = bytes / element_bytes;
  }
  segments_in_.resize(buckets_.size());
  for (std::size_t s = 0; s < table.segments().size(); ++s) {
    const Segment& segment = table.segments()[s];
    for (std::size_t b = 0; b < buckets_.size() && !segment.frozen; ++b) {
      if (segment.offset < buckets_[b].end && buckets_[b].begin < segment.offset + segment.count) {
        buckets_of_[s].push_back(b);
        ++segments_in_[b];
      }
    }
  }
  begin();
}

Range BucketPlan::part(std::size_t bucket, std::size_t rank) const {
  const Range& whole = buckets_.at(bucket);
  const std::size_t length = whole.count() / ranks_;
  return {whole.begin + rank * length, whole.begin + (rank + 1) * length};
}

void BucketPlan::begin() {
  missing_ = segments_in_;
  has_arrived_.assign(buckets_of_.size(), false);
  next_ = 0;
}

std::vector<std::size_t> BucketPlan::arrived(std::size_t segment) {
  std::vector<std::size_t> complete;
  if (has_arrived_.at(segment)) {
    return complete;
  }
  has_arrived_[segment] = true;
  for (const std::size_t bucket : buckets_of_[segment]) {
    --missing_[bucket];
  }
  while (next_ < buckets_.size() && missing_[next_] == 0) {
    complete.push_back(next_++);
  }
  return complete;
}

std::vector<std::size_t> BucketPlan::rest() {
  std::vector<std::size_t> left;
  while (next_ < buckets_.size()) {
    left.push_back(next_++);
  }
  return left;
}

std::vector<Range> own_ranges(const BucketPlan& plan, std::size_t capacity, std::size_t rank,
                              bool is_sharded) {
  if (!is_sharded) {
    return {{0, capacity}};
  }
  std::vector<Range> ranges;
  for (std::size_t bucket = 0; bucket < plan.buckets().size(); ++bucket) {
    ranges.push_back(plan.part(bucket, rank));
  }
  return ranges;
}

std::vector<Chunk> chunks_of(const SegmentTable& table, const std::vector<Range>& ranges,
                             std::size_t blocks) {
  std::size_t elements = 0;
  for (const Range& range : ranges) {
    elements += range.count();
  }
  const std::size_t most = std::clamp<std::size_t>(to_whole(elements / blocks, 1024), 1024, 16384);
  std::vector<Chunk> chunks;
  std::size_t state_at = 0;
  for (const Range& range : ranges) {
    for (const Segment& segment : table.segments()) {
      const std::size_t begin = std::max(range.begin, segment.offset);
      const std::size_t end = std::min(range.end, segment.offset + segment.count);
      for (std::size_t at = begin; at < end && !segment.frozen; at += most) {
        chunks.push_back({.at = at,
                          .state_at = state_at + at - range.begin,
                          .count = static_cast<std::uint32_t>(std::min(most, end - at)),
                          .decays = segment.decays ? 1U : 0U,
                          .rate_factor = segment.rate_factor});
      }
    }
    state_at += range.count();
  }
  return chunks;
}

}  // namespace muster
