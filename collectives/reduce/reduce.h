/// reduce: combines equal-sized pieces of memory of several ranks, in the order given, and stores
/// the result in several places. One pass: every source is read once, every destination written
/// once. Bits depend on the values and their order alone. Integers wrap. A NaN of any source gives
/// NaN, for max and min too. 16-bit floats are summed in float32 and rounded once, to even.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>

#include "runtime/comm/buffer.h"

namespace muster {

/// Ranks divide a buffer where no cache line is shared, whatever the type.
inline constexpr std::size_t line_elements = 64;

/// What partial results are kept in: float32 for 16-bit floats, else the type itself.
constexpr DType accumulator_of(DType dtype) {
  return dtype == DType::float16 || dtype == DType::bfloat16 ? DType::float32 : dtype;
}

/// destination[k][i] = (source[0][i] op source[1][i] op ...) / divisor. A destination may be a
/// source; they must not overlap otherwise. `in` and `out` are equal, or one of them is the
/// accumulator of the other. `mean` divides by `divisor`; other operations ignore it.
void reduce(DType in, DType out, ReduceOp op, std::span<const void* const> sources,
            std::span<void* const> destinations, std::size_t count, int divisor);

}  // namespace muster
