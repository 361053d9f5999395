/// convert_to_hdf5: any format that is read here, once, into the layout that trains fastest:
/// contiguous HDF5, which is mapped. The file appears whole or not at all; its sums are checked by
/// reading it again before it gets its name.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "runtime/base/file_system.h"
#include "runtime/config/data_settings.h"

namespace muster {

/// /features and /labels as the source has them (bytes stay bytes), attributes `format`, `classes`
/// and, for each data set, `crc32c`. What was written:
struct Converted {
  std::uint64_t rows = 0;
  std::string features;  ///< "1 x 28 x 28 uint8"
  std::string labels;
  std::int64_t classes = 0;  ///< 0: the labels are values
  std::uint64_t bytes = 0;   ///< of the file
};
Converted convert_to_hdf5(const DataSettings& settings, const Path& out);

/// Reads a converted file whole and compares its sums. Throws bad_input when they do not hold, or
/// when there are none.
void verify_converted(const Path& path);

}  // namespace muster
