/// Trailer: what the ranks tell each other once a step, as floats that ride at the end of a sum
/// over gradients. Summing trailers sums losses, ors wishes and lists the times of all ranks, so no
/// collective is made for them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>

#include "runtime/train/exchange.h"

namespace muster {

class Trailer {
 public:
  explicit Trailer(std::size_t ranks) : ranks_(ranks) {}
  std::size_t length() const;  ///< floats, whole lines
  /// `outcome` holds what this contributor knows; its busy_ns are of the ranks from `first_rank`
  /// on.
  void write(const StepOutcome& outcome, std::size_t first_rank, std::span<float> into) const;
  /// Replaces in `outcome` what the sum of all trailers says.
  void read(std::span<const float> sum, StepOutcome& outcome) const;

 private:
  std::size_t ranks_;
};

}  // namespace muster
