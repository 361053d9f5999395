// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/save_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "runtime/base/error.h"
#include "runtime/base/text.h"
#include "runtime/data/hdf5.h"

namespace muster {
namespace {

struct Form {
  h5::Scalar scalar;
  const char* safetensors;
};

Form form_of(const NamedTensor& named) {
  switch (named.tensor.scalar_type()) {
    case at::kFloat:
      return {h5::Scalar::float32, "F32"};
    case at::kDouble:
      return {h5::Scalar::float64, "F64"};
    case at::kLong:
      return {h5::Scalar::int64, "I64"};
    case at::kInt:
      return {h5::Scalar::int32, "I32"};
    case at::kBool:
    case at::kByte:
      return {h5::Scalar::uint8, "U8"};
    default:
      throw Error(Fault::bad_input, "'" + named.name + "' has a type that model files do not hold");
  }
}

std::span<const std::byte> bytes_of(const at::Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

void write_hdf5(const Model& model, const Path& path) {
  h5::File file = h5::File::create(path);
  file.set_text("/", "model", model.kind());
  const auto write = [&](const std::string& group, const NamedTensor& named) {
    const at::Tensor dense = named.tensor.detach().contiguous();
    const h5::Shape shape(dense.sizes().begin(), dense.sizes().end());
    const h5::Scalar scalar = form_of(named).scalar;
    file.create_dataset(group + named.name, scalar, shape).write(bytes_of(dense), scalar);
  };
  for (const NamedTensor& parameter : model.parameters()) {
    write("/parameters/", parameter);
  }
  for (const NamedTensor& buffer : model.buffers()) {
    write("/buffers/", buffer);
  }
  file.close();
}

// Eight bytes of header length, a JSON header, the tensors one after the other.
void write_safetensors(const Model& model, const Path& path) {
  std::string header = R"({"__metadata__": {"format": "pt"})";
  std::string payload;
  const auto add = [&](const NamedTensor& named) {
    const at::Tensor dense = named.tensor.detach().contiguous();
    std::vector<std::string> sizes;
    for (const std::int64_t size : dense.sizes()) {
      sizes.push_back(std::to_string(size));
    }
    header += fmt::format(R"(, "{}": {{"dtype": "{}", "shape": [{}], "data_offsets": [{}, {}]}})",
                          named.name, form_of(named).safetensors, join(sizes, ", "), payload.size(),
                          payload.size() + dense.nbytes());
    payload.append(static_cast<const char*>(dense.const_data_ptr()), dense.nbytes());
  };
  std::ranges::for_each(model.parameters(), add);
  std::ranges::for_each(model.buffers(), add);
  header += "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const std::uint64_t length = header.size();
  std::string text(sizeof length, '\0');
  std::memcpy(text.data(), &length, sizeof length);
  write_file_atomically(path, text + header + payload);
}

}  // namespace

void save_model(const Model& model, const Path& directory, const std::vector<std::string>& forms) {
  FileSystem& files = posix_file_system();
  files.make_directory(directory);
  if (std::ranges::find(forms, "hdf5") != forms.end()) {
    const Path temporary = directory / ".model.h5";
    write_hdf5(model, temporary);
    files.rename(temporary, directory / "model.h5");
  }
  if (std::ranges::find(forms, "safetensors") != forms.end()) {
    write_safetensors(model, directory / "model.safetensors");
  }
}

}  // namespace muster
