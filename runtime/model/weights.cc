// SPDX-License-Identifier: Apache-2.0
#include "runtime/model/weights.h"

#include <ATen/ops/from_blob.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <map>

#include "runtime/base/error.h"
#include "runtime/base/text.h"
#include "runtime/model/safetensors.h"

namespace muster {
namespace {

constexpr std::array<std::string_view, 4> usual_prefixes{"module.", "_orig_mod.", "model.",
                                                         "transformer."};

std::vector<StoredTensor> open_hdf5(const Path& path) {
  const auto file = std::make_shared<const h5::File>(h5::File::open(path));
  std::vector<StoredTensor> tensors;
  for (const std::string& place : file->datasets()) {
    const h5::DatasetInfo info = file->dataset(place).info();
    std::string name = place.substr(1);
    for (const std::string_view group : {"parameters/", "buffers/"}) {
      name = name.starts_with(group) ? name.substr(group.size()) : name;
    }
    tensors.push_back(
        {.name = name, .scalar = info.scalar, .shape = info.shape, .read = [file, place, info] {
           std::vector<std::byte> bytes(info.bytes());
           file->dataset(place).read(bytes, info.scalar);
           return bytes;
         }});
  }
  return tensors;
}

std::string mapped_name(std::string name, const WeightRules& rules) {
  for (const std::string& rule : rules.map) {
    const std::size_t equals = rule.find('=');
    if (equals == std::string::npos) {
      throw Error(Fault::bad_input, fmt::format("model.init_map: '{}' must read from=to", rule));
    }
    const std::string_view from = std::string_view(rule).substr(0, equals);
    if (name.starts_with(from)) {
      name = rule.substr(equals + 1) + name.substr(from.size());
    }
  }
  return name;
}

using ByName = std::map<std::string, const StoredTensor*>;

ByName by_mapped_name(const std::vector<StoredTensor>& tensors, const WeightRules& rules,
                      const std::vector<std::string>& known) {
  ByName found;
  for (const StoredTensor& each : tensors) {
    std::string name = mapped_name(each.name, rules);
    for (bool changed = true; changed && std::ranges::find(known, name) == known.end();) {
      changed = false;
      for (const std::string_view prefix : usual_prefixes) {
        if (name.starts_with(prefix)) {
          name = name.substr(prefix.size());
          changed = true;
        }
      }
    }
    found.emplace(std::move(name), &each);
  }
  return found;
}

bool is_skipped(const std::string& name, const WeightRules& rules) {
  return std::ranges::any_of(rules.skip, [&](const std::string& pattern) {
    return ::fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
  });
}

at::ScalarType torch_type(h5::Scalar scalar) {
  constexpr std::array<at::ScalarType, 12> types{
      at::kHalf, at::kBFloat16, at::kFloat, at::kDouble, at::kChar,   at::kShort,
      at::kInt,  at::kLong,     at::kByte,  at::kUInt16, at::kUInt32, at::kUInt64};
  return types.at(static_cast<std::size_t>(scalar));
}

void copy_into(const at::Tensor& tensor, const StoredTensor& stored) {
  std::vector<std::byte> bytes = stored.read();
  const std::vector<std::int64_t> sizes(stored.shape.begin(), stored.shape.end());
  const at::Tensor values =
      at::from_blob(bytes.data(), sizes, at::TensorOptions().dtype(torch_type(stored.scalar)));
  tensor.detach().copy_(values);
}

/// What does not fit, or nothing when the tensor was copied.
std::optional<std::string> try_copy(const NamedTensor& each, const ByName& stored, bool may_miss) {
  const auto found = stored.find(each.name);
  if (found == stored.end()) {
    return may_miss ? std::nullopt : std::optional(each.name + " is not in the file");
  }
  const h5::Shape shape(each.tensor.sizes().begin(), each.tensor.sizes().end());
  if (found->second->shape != shape) {
    return fmt::format("{} is {} in the file, {} in the model", each.name,
                       h5::text_of(found->second->shape), h5::text_of(shape));
  }
  copy_into(each.tensor, *found->second);
  return std::nullopt;
}

std::span<const std::byte> bytes_of(const at::Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

/// On the host, row by row.
at::Tensor plain(const at::Tensor& tensor) {
  return tensor.detach().to(at::kCPU).contiguous(at::MemoryFormat::Contiguous);
}

h5::Scalar scalar_of(const at::Tensor& tensor) {
  for (int i = 0; i <= static_cast<int>(h5::Scalar::uint64); ++i) {
    if (torch_type(static_cast<h5::Scalar>(i)) == tensor.scalar_type()) {
      return static_cast<h5::Scalar>(i);
    }
  }
  throw Error(Fault::bug, "a tensor of a type that files do not hold");
}

}  // namespace

std::vector<StoredTensor> open_weights(const Path& path) {
  if (!std::filesystem::exists(path)) {
    throw Error(Fault::bad_input, fmt::format("model.init: there is no file {}", path.string()));
  }
  return path.extension() == ".h5" || path.extension() == ".hdf5" ? open_hdf5(path)
                                                                  : open_safetensors(path);
}

void load_weights(const Model& model, const Path& path, const WeightRules& rules) {
  const std::vector<StoredTensor> tensors = open_weights(path);
  std::vector<std::string> known;
  for (const NamedTensor& each : model.parameters()) {
    known.push_back(each.name);
  }
  const ByName stored = by_mapped_name(tensors, rules, known);
  std::vector<std::string> misfits;
  for (const auto* group : {&model.parameters(), &model.buffers()}) {
    for (const NamedTensor& each : *group) {
      if (is_skipped(each.name, rules)) {
        continue;
      }
      if (auto misfit = try_copy(each, stored, group == &model.buffers())) {
        misfits.push_back(std::move(*misfit));
      }
    }
  }
  if (!misfits.empty()) {
    const std::size_t shown = std::min<std::size_t>(misfits.size(), 8);
    throw Error(
        Fault::bad_input,
        fmt::format(
            "model.init = {} does not fit model.kind = {}: {}{}; rename with model.init_map, or "
            "start them afresh with model.init_skip",
            path.string(), model.kind(),
            fmt::join(misfits.begin(), misfits.begin() + static_cast<std::ptrdiff_t>(shown), "; "),
            misfits.size() > shown ? fmt::format("; and {} more", misfits.size() - shown) : ""));
  }
}

void save_hdf5(const Model& model, const Path& path, const ModelNotes& notes) {
  auto file = h5::File::create(path);
  auto put = [&](const std::string& group, const NamedTensor& each) {
    const at::Tensor values = plain(each.tensor);
    const h5::Scalar scalar = scalar_of(values);
    auto dataset = file.create_dataset(group + each.name, scalar,
                                       {values.sizes().begin(), values.sizes().end()});
    dataset.write(bytes_of(values), scalar);
  };
  file.make_group("/parameters");
  for (const NamedTensor& each : model.parameters()) {
    put("/parameters/", each);
  }
  for (const NamedTensor& each : model.buffers()) {
    put("/buffers/", each);
  }
  file.set_text("/", "format", "muster model 1");
  file.set_text("/", "kind", model.kind());
  file.set_text("/", "fingerprint", model.fingerprint());
  for (const auto& [name, text] : notes) {
    file.set_text("/", name, text);
  }
  file.close();
}

void save_safetensors(const Model& model, const Path& path, const ModelNotes& notes) {
  std::vector<StoredTensor> tensors;
  for (const auto* group : {&model.parameters(), &model.buffers()}) {
    for (const NamedTensor& each : *group) {
      tensors.push_back({.name = each.name,
                         .scalar = scalar_of(each.tensor),
                         .shape = {each.tensor.sizes().begin(), each.tensor.sizes().end()},
                         .read = [tensor = each.tensor] {
                           const at::Tensor values = plain(tensor);
                           const auto bytes = bytes_of(values);
                           return std::vector<std::byte>(bytes.begin(), bytes.end());
                         }});
    }
  }
  std::map<std::string, std::string> metadata{{"format", "pt"},
                                              {"muster_kind", std::string(model.kind())}};
  for (const auto& [name, text] : notes) {
    metadata["muster_" + name] = text;
  }
  write_safetensors(path, tensors, metadata);
}

}  // namespace muster
