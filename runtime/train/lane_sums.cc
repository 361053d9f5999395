// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/lane_sums.h"

#include <algorithm>

#include "runtime/train/kernels.h"

namespace muster {

bool LaneSums::select(std::span<const float* const> lanes) {
  sources_.assign(lanes.begin(), lanes.end());
  const bool any =
      std::any_of(lanes.begin(), lanes.end(), [](const float* lane) { return lane != nullptr; });
  if (!in_tree_) {
    std::erase(sources_, nullptr);
  }
  shifted_.resize(sources_.size());
  scratch_.resize(in_tree_ ? kernels::tree_depth(sources_.size()) * most_count_ : 0);
  return any;
}

void LaneSums::sum(std::size_t at, std::size_t count, float* into) {
  for (std::size_t k = 0; k < sources_.size(); ++k) {
    shifted_[k] = sources_[k] == nullptr ? nullptr : sources_[k] + at;
  }
  if (in_tree_) {
    kernels::reduce_in_tree(into, shifted_, count, scratch_.data());
  } else {
    kernels::reduce_in_order(into, shifted_, count);
  }
}

double sum_in_order(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) {
    sum += value;
  }
  return sum;
}

}  // namespace muster
