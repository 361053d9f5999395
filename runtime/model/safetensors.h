/// The safetensors form: a length of 8 bytes, a JSON header that names types, shapes and places,
/// then the bytes of all tensors.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "runtime/model/weights.h"

namespace muster {

std::vector<StoredTensor> open_safetensors(const Path& path);
void write_safetensors(const Path& path, const std::vector<StoredTensor>& tensors,
                       const std::map<std::string, std::string>& metadata);

}  // namespace muster
