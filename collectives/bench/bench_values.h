/// BenchValues: what ranks put into the buffers of a bench, and the exact sum, computed without any
/// reduction. Whole numbers, so small that every sum of them is exact in every type and in every
/// order. The value depends on the rank and, by a hash, on the place, so that an element that lands
/// elsewhere or counts twice is seen.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/comm/buffer.h"

namespace muster {

class BenchValues {
 public:
  static constexpr int most_ranks = 256;
  BenchValues(DType dtype, int ranks) : dtype_(dtype), ranks_(ranks) {}

  std::vector<std::byte> of_rank(int rank, std::size_t count) const;
  /// Elements that are not the exact sum of all ranks.
  std::uint64_t errors_in(std::span<const std::byte> sum) const;

 private:
  DType dtype_;
  int ranks_;
};

}  // namespace muster
