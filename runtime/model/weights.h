/// Weights: tensors by name in a file, safetensors or a run's model.h5: read into a model to start
/// from, written when it is trained. Files hold plain row-major numbers whatever the layout in
/// memory; both forms open in Python (safetensors, h5py).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/file_system.h"
#include "runtime/data/hdf5.h"
#include "runtime/model/model.h"

namespace muster {

/// One tensor of a file.
struct StoredTensor {
  std::string name;
  h5::Scalar scalar = h5::Scalar::float32;
  h5::Shape shape;
  std::function<std::vector<std::byte>()>
      read;  ///< its bytes; the file stays open as long as this lives
};

/// Throws bad_input when the file is cut short, is of neither form, or holds a type that no model
/// has.
std::vector<StoredTensor> open_weights(const Path& path);

struct WeightRules {
  std::vector<std::string>
      map;  ///< "from=to": a prefix of the file's names and what takes its place
  std::vector<std::string> skip;  ///< names of the model (with * and ?) that keep their fresh start
};
/// Puts the tensors of the file into the model, converted to its types. The usual prefixes
/// (module., model., transformer., _orig_mod.) are taken off where the model has no such names.
/// Every parameter must be found with its shape, or be skipped: throws bad_input that lists all
/// that do not fit.
void load_weights(const Model& model, const Path& path, const WeightRules& rules);

/// What a file says of its model beside the tensors.
using ModelNotes = std::map<std::string, std::string>;

/// model.h5: /parameters/NAME and /buffers/NAME; the model's kind, its fingerprint and the notes as
/// attributes.
void save_hdf5(const Model& model, const Path& path, const ModelNotes& notes = {});
void save_safetensors(const Model& model, const Path& path, const ModelNotes& notes = {});

}  // namespace muster
