/// SegmentTable: where each parameter lies in the flat arena, and to which group it belongs (rate,
/// decay, frozen). Offsets and counts are in elements; every segment starts on a 64-byte line, and
/// the gaps belong to nobody and stay zero.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace muster {

struct Segment {
  std::string name;  ///< "layers.0.weight"
  std::size_t offset = 0;
  std::size_t count = 0;
  float rate_factor = 1;  ///< times the schedule's rate
  bool decays = true;
  bool frozen = false;  ///< never updated; its gradient is not asked for
};

struct NamedCount {
  std::string name;
  std::size_t count = 0;
};

/// Which parameters are treated apart. A pattern with * or ? is matched against the whole name; a
/// plain word against one part of it between dots ("bias") or against its beginning
/// ("encoder.layers").
struct GroupRules {
  std::vector<std::string> no_decay;
  std::vector<std::string> freeze;
  struct RateFactor {
    std::string pattern;
    double factor = 1;
  };
  std::vector<RateFactor> rates;  ///< the last that matches wins
};

/// Contiguous part of the arena.
struct Range {
  std::size_t begin = 0;
  std::size_t end = 0;
  std::size_t count() const { return end - begin; }
  bool operator==(const Range&) const = default;
};

class SegmentTable {
 public:
  static constexpr std::size_t line = 16;  ///< floats in 64 bytes
  SegmentTable() = default;
  /// Cut into `parts` equal shards, each a multiple of `alignment` elements.
  SegmentTable(std::span<const NamedCount> parameters, std::size_t parts,
               std::size_t alignment = line);

  /// Throws bad_input naming a pattern that matches nothing.
  void apply(const GroupRules& rules);

  const std::vector<Segment>& segments() const { return segments_; }
  std::size_t capacity() const {
    return capacity_;
  }                                     ///< elements, padding included: what is allocated
  Range shard(std::size_t part) const;  ///< `part` of `parts`
  std::size_t parts() const { return parts_; }
  std::size_t element_count() const;  ///< without padding

 private:
  std::vector<Segment> segments_;
  std::size_t parts_ = 1;
  std::size_t capacity_ = 0;
};

bool matches(std::string_view pattern, std::string_view name);

}  // namespace muster
