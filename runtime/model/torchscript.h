/// TorchScript: models that Python scripted or traced, trained as they are; and our own models
/// written as one, where their forward pass can be said in its language. Deprecated upstream: it
/// stays for as long as libtorch reads it. Compiled apart, since its headers are the dearest of
/// all.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "runtime/base/file_system.h"
#include "runtime/model/model.h"
#include "runtime/model/weights.h"

namespace muster {

/// Runs the file once, on two samples of zeros. Throws bad_input when it cannot be read, does not
/// take the data's shape, or gives outputs that do not fit its labels.
std::unique_ptr<Model> open_torchscript(const std::string& file, const DataShape& data);

/// False when this model cannot be said in TorchScript (GPT, shared objects): nothing is written
/// then.
bool save_torchscript(const Model& model, const Path& path, const ModelNotes& notes = {});

}  // namespace muster
