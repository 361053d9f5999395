/// LaneSums: sums the gradients of one segment over all lanes, a cache-sized chunk at a time: in
/// lane order, or in strict mode in one fixed tree, so that the bits do not depend on who computed
/// which lane. Not thread-safe: it has scratch.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace muster {

class LaneSums {
 public:
  LaneSums(std::size_t most_count, bool in_tree) : most_count_(most_count), in_tree_(in_tree) {}
  /// `lanes[k]`: where lane k's gradient of the segment begins; null where it has none. False when
  /// none has one.
  bool select(std::span<const float* const> lanes);
  /// Elements [at, at + count) of the selected segment.
  void sum(std::size_t at, std::size_t count, float* into);

 private:
  std::size_t most_count_;
  bool in_tree_;
  std::vector<const float*> sources_;
  std::vector<const float*> shifted_;
  std::vector<float> scratch_;
};

double sum_in_order(std::span<const double> values);

}  // namespace muster
