// SPDX-License-Identifier: Apache-2.0
#include "runtime/model/safetensors.h"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "runtime/base/error.h"

namespace muster {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<std::pair<std::string_view, h5::Scalar>, 12> type_names{
    {{"F16", h5::Scalar::float16},
     {"BF16", h5::Scalar::bfloat16},
     {"F32", h5::Scalar::float32},
     {"F64", h5::Scalar::float64},
     {"I8", h5::Scalar::int8},
     {"I16", h5::Scalar::int16},
     {"I32", h5::Scalar::int32},
     {"I64", h5::Scalar::int64},
     {"U8", h5::Scalar::uint8},
     {"U16", h5::Scalar::uint16},
     {"U32", h5::Scalar::uint32},
     {"U64", h5::Scalar::uint64}}};

[[noreturn]] void fail(const Path& path, std::string_view why) {
  throw Error(Fault::bad_input, fmt::format("{}: {}", path.string(), why));
}

h5::Scalar scalar_of(std::string_view name, const Path& path) {
  for (const auto& [word, scalar] : type_names) {
    if (word == name) {
      return scalar;
    }
  }
  fail(path, fmt::format("type {} is none that a model here has", name));
}

std::string_view name_of_type(h5::Scalar scalar) {
  for (const auto& [word, known] : type_names) {
    if (known == scalar) {
      return word;
    }
  }
  return "";
}

struct Head {
  Json json;
  std::uint64_t payload = 0;  // where it begins
};

Head read_head(File& file, const Path& path) {
  std::uint64_t length = 0;
  const std::uint64_t size = file.size();
  if (file.read_at(0, std::as_writable_bytes(std::span(&length, 1))) < 8 || length > size ||
      length + 8 > size || length < 2) {
    fail(path, "this is no safetensors file, or it is cut short");
  }
  std::string text(length, '\0');
  file.read_at(8, std::as_writable_bytes(std::span(text)));
  Head head{.json = Json::parse(text, nullptr, false), .payload = 8 + length};
  if (!head.json.is_object()) {
    fail(path, "this is no safetensors file: its header is no JSON object");
  }
  return head;
}

StoredTensor describe(const std::string& name, const Json& entry, const Head& head,
                      const std::shared_ptr<File>& file, const Path& path) {
  StoredTensor tensor{.name = name,
                      .scalar = scalar_of(entry.at("dtype").get<std::string>(), path),
                      .shape = entry.at("shape").get<h5::Shape>(),
                      .read = {}};
  const auto begin = entry.at("data_offsets").at(0).get<std::uint64_t>();
  const auto end = entry.at("data_offsets").at(1).get<std::uint64_t>();
  if (end < begin || end - begin != h5::elements_of(tensor.shape) * h5::size_of(tensor.scalar)) {
    fail(path, fmt::format("{} is {} {}, which is not the {} bytes it takes", name,
                           h5::text_of(tensor.shape), h5::name_of(tensor.scalar), end - begin));
  }
  if (head.payload + end > file->size()) {
    fail(path, fmt::format("is cut short: {} ends at byte {}, the file at {}; copy it again", name,
                           head.payload + end, file->size()));
  }
  tensor.read = [file, at = head.payload + begin, bytes = end - begin] {
    std::vector<std::byte> into(bytes);
    file->read_at(at, into);
    return into;
  };
  return tensor;
}

}  // namespace

std::vector<StoredTensor> open_safetensors(const Path& path) {
  const std::shared_ptr<File> file = posix_file_system().open(path, OpenMode::read);
  const Head head = read_head(*file, path);
  std::vector<StoredTensor> tensors;
  try {
    for (const auto& [name, entry] : head.json.items()) {
      if (name != "__metadata__") {
        tensors.push_back(describe(name, entry, head, file, path));
      }
    }
  } catch (const nlohmann::json::exception& error) {
    fail(path, fmt::format("the safetensors header is damaged ({})", error.what()));
  }
  return tensors;
}

void write_safetensors(const Path& path, const std::vector<StoredTensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  Json json;
  json["__metadata__"] = metadata;
  std::uint64_t at = 0;
  for (const StoredTensor& each : tensors) {
    const std::uint64_t bytes = h5::elements_of(each.shape) * h5::size_of(each.scalar);
    json[each.name] = {{"dtype", name_of_type(each.scalar)},
                       {"shape", each.shape},
                       {"data_offsets", {at, at + bytes}}};
    at += bytes;
  }
  std::string text = json.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const std::uint64_t length = text.size();
  const auto file = posix_file_system().open(path, OpenMode::create_or_cut);
  file->write_at(0, std::as_bytes(std::span(&length, 1)));
  file->write_at(8, as_bytes(text));
  at = 8 + length;
  for (const StoredTensor& each : tensors) {
    const std::vector<std::byte> bytes = each.read();
    file->write_at(at, bytes);
    at += bytes.size();
  }
}

}  // namespace muster
