/// CompiledPackage: what a training step that Python compiled ahead of time (.pt2) says of itself,
/// and the values that its tensors start from. configs/examples/compiled_step/compile_step.py
/// writes it. Experimental. Only trusted files: a package is machine code.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/model/model.h"

namespace muster {

struct CompiledPackage {
  struct Sample {
    std::vector<std::int64_t> shape;
    std::string type;  ///< "float32", "int64"
    std::string text() const;
  };
  std::string file;
  std::int64_t batch = 0;  ///< samples that every call computes
  Sample features, labels, outputs;
  std::string loss;
  double label_smoothing = 0;
  std::string random;  ///< operators that draw random numbers; empty: none
  std::vector<NamedTensor> parameters;
  std::vector<NamedTensor> buffers;
};

/// Throws bad_input when the file cannot be read, is damaged or no such package, or was made by
/// another torch or for another processor.
CompiledPackage read_compiled_package(const std::string& file);

/// CRC-32 as zip archives have it. Torch's reader of packages is built without the check.
std::uint32_t zip_checksum(std::string_view bytes);

/// Throws bad_input when the step was compiled for other samples.
void check_data(const CompiledPackage& package, const DataShape& data);

}  // namespace muster
