/// The trained model as files, for who needs no word on what was left out.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "runtime/model/export.h"

namespace muster {

/// export_model, without its answer.
inline void save_model(const Model& model, const Path& directory,
                       const std::vector<std::string>& forms, const ModelNotes& notes) {
  export_model(model, directory, forms, notes);
}

}  // namespace muster
