/// Export: a checkpoint's tensors in the formats that other programs read. The file is there whole
/// or not at all. Only tensors whose name begins with `prefix` are taken, without it: "model/"
/// gives the model as its users name it, with the moving average of a parameter in its place where
/// the run keeps one. Dimensions are in the model's order, also of tensors stored channels last.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "runtime/base/file_system.h"

namespace muster {

/// safetensors: length, JSON header, bytes. No pickle, memory-mapped by its readers.
void export_safetensors(const Path& checkpoint, const Path& output, std::string_view prefix);
/// npz: what numpy.load reads: a zip of .npy files, stored. bfloat16, which NumPy lacks, goes as
/// uint16.
void export_npz(const Path& checkpoint, const Path& output, std::string_view prefix);

/// CRC-32 of zip and gzip (polynomial 0xEDB88320), not that of checkpoints.
std::uint32_t crc32_zip(std::uint32_t seed, std::string_view bytes);

}  // namespace muster
