/// export_model: what a finished run leaves in model/: model.h5, model.safetensors and model.pt,
/// each where it can be had.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "runtime/base/file_system.h"
#include "runtime/model/model.h"

namespace muster {

/// `forms`: hdf5, torchscript, safetensors. Each file appears whole or not at all. Answers with
/// what was left out, and why, as sentences. Throws bad_input on another word.
std::vector<std::string> export_model(const Model& model, const Path& directory,
                                      const std::vector<std::string>& forms);

}  // namespace muster
