/// export_model: what a finished run leaves in model/: model.h5, model.safetensors and model.pt,
/// each where it can be had.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "runtime/base/file_system.h"
#include "runtime/data/dataset.h"
#include "runtime/model/model.h"
#include "runtime/model/weights.h"

namespace muster {

/// What samples look like, and how the file's values became those: for who gives the model others.
/// `scale` and `shift` as text_of() says them; empty: too long, or not known.
ModelNotes notes_on(const DataShape& shape, const std::string& scale, const std::string& shift);
ModelNotes notes_on(const Dataset& data);

/// `forms`: hdf5, torchscript, safetensors. Each file appears whole or not at all, and says what
/// `notes` say: model.h5 by attributes, model.safetensors by its metadata, model.pt by the extra
/// file muster.txt. Answers with what was left out, and why, as sentences. Throws bad_input on
/// another word.
std::vector<std::string> export_model(const Model& model, const Path& directory,
                                      const std::vector<std::string>& forms,
                                      const ModelNotes& notes);

}  // namespace muster
