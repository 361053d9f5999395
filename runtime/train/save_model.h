/// The trained model as files: model.h5 ("/parameters/NAME" and "/buffers/NAME", which h5py opens)
/// and model.safetensors. Tensors lie row-major whatever their strides in memory. Each file is
/// whole or not there.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "runtime/base/file_system.h"
#include "runtime/model/model.h"

namespace muster {

/// `forms`: of hdf5, safetensors; others are left to who knows them.
void save_model(const Model& model, const Path& directory, const std::vector<std::string>& forms);

}  // namespace muster
