/// Numbers of any type in a file to the numbers that training wants: float32 scaled and shifted by
/// channel, or int64. Plain loops over one row; what is not finite is found on the way.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/data/dataset.h"
#include "runtime/data/hdf5.h"

namespace muster {

/// `count` values. False when one of them is NaN or infinite.
bool to_float(const std::byte* from, h5::Scalar scalar, std::size_t count, const Normalisation& by,
              float* into);
/// False when one is no whole number (floats that hold classes are usual in CSV files).
bool to_int64(const std::byte* from, h5::Scalar scalar, std::size_t count, std::int64_t* into);

}  // namespace muster
