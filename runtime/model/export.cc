// SPDX-License-Identifier: Apache-2.0
#include "runtime/model/export.h"

#include <fmt/format.h>

#include "runtime/base/error.h"
#include "runtime/model/torchscript.h"
#include "runtime/model/weights.h"

namespace muster {
namespace {

/// Writes under another name, then renames.
template <class Write>
bool whole_or_not(const Path& path, Write write) {
  const Path temporary = path.string() + ".part";
  if (!write(temporary)) {
    return false;
  }
  posix_file_system().open(temporary, OpenMode::read_write)->sync();
  posix_file_system().rename(temporary, path);
  return true;
}

}  // namespace

ModelNotes notes_on(const DataShape& shape, const std::string& scale, const std::string& shift) {
  ModelNotes notes{{"samples", shape.text()}};
  if (shape.feature_type != DType::float32) {
    return notes;
  }
  if (scale.empty() || shift.empty()) {
    notes["input"] = "scaled and shifted by channel, by numbers that are not said here";
    return notes;
  }
  notes["input"] = "a value of the file * input_scale + input_shift, by channel";
  notes["input_scale"] = scale;
  notes["input_shift"] = shift;
  return notes;
}

ModelNotes notes_on(const Dataset& data) {
  const Normalisation by = data.normalisation();
  return notes_on(data.shape(), text_of(by.scale), text_of(by.shift));
}

std::vector<std::string> export_model(const Model& model, const Path& directory,
                                      const std::vector<std::string>& forms,
                                      const ModelNotes& notes) {
  std::vector<std::string> left_out;
  posix_file_system().make_directory(directory);
  for (const std::string& form : forms) {
    if (form == "hdf5") {
      whole_or_not(directory / "model.h5",
                   [&](const Path& path) { return save_hdf5(model, path, notes), true; });
    } else if (form == "safetensors") {
      whole_or_not(directory / "model.safetensors",
                   [&](const Path& path) { return save_safetensors(model, path, notes), true; });
    } else if (form == "torchscript") {
      if (!whole_or_not(directory / "model.pt",
                        [&](const Path& path) { return save_torchscript(model, path, notes); })) {
        left_out.push_back(
            fmt::format("no TorchScript: model.kind = {} cannot be written as one", model.kind()));
      }
    } else {
      throw Error(
          Fault::bad_input,
          fmt::format("train.save: '{}' is no form of a model; use hdf5, torchscript, safetensors",
                      form));
    }
  }
  return left_out;
}

}  // namespace muster
