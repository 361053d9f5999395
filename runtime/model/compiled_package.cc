// SPDX-License-Identifier: Apache-2.0
#include "runtime/model/compiled_package.h"

#include <ATen/Version.h>
#include <ATen/ops/empty.h>
#include <caffe2/serialize/inline_container.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/version.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "runtime/base/error.h"
#include "runtime/model/built_in.h"

namespace muster {
namespace {

constexpr const char* about_record = "extra/muster.json";
constexpr const char* start_record = "extra/muster.start";
constexpr const char* sums_record = "extra/muster.sums";
constexpr int known_format = 1;

[[noreturn]] void refuse(const std::string& file, const std::string& sentence) {
  throw Error(Fault::bad_input, fmt::format("model.file: {} {}", file, sentence));
}

using Reader = caffe2::serialize::PyTorchStreamReader;

std::string record_of(Reader& reader, const std::string& name) {
  const auto [data, bytes] = reader.getRecord(name);
  return {static_cast<const char*>(data.get()), bytes};
}

CompiledPackage::Sample sample_of(const nlohmann::json& said) {
  return {.shape = said.at("shape").get<std::vector<std::int64_t>>(), .type = said.at("dtype")};
}

at::ScalarType type_of(const std::string& word) {
  constexpr std::array<std::pair<std::string_view, at::ScalarType>, 4> types{
      {{"float32", at::kFloat}, {"int64", at::kLong}, {"bool", at::kBool}, {"int32", at::kInt}}};
  const auto* const found =
      std::ranges::find(types, word, [](const auto& type) { return type.first; });
  if (found == types.end()) {
    throw Error(Fault::bad_input, "a tensor is " + word);
  }
  return found->second;
}

/// The tensors that `said` lists, filled from the front of `start`, which loses what was taken.
std::vector<NamedTensor> tensors_of(const nlohmann::json& said, std::string_view& start) {
  std::vector<NamedTensor> tensors;
  for (const auto& each : said) {
    const CompiledPackage::Sample like = sample_of(each);
    const at::Tensor tensor = at::empty(like.shape, type_of(like.type));
    const std::size_t bytes = tensor.nbytes();
    if (bytes > start.size()) {
      throw Error(Fault::bad_input, "the starting values are cut short");
    }
    std::memcpy(tensor.mutable_data_ptr(), start.data(), bytes);
    start.remove_prefix(bytes);
    tensors.push_back({.name = each.at("name"), .tensor = tensor});
  }
  return tensors;
}

void check_made_for_us(const nlohmann::json& said, const std::string& file) {
  const int format = said.at("format");
  if (format != known_format) {
    refuse(file, fmt::format("was written by another version of compile_step.py (format {}, this "
                             "program reads {}); make it again",
                             format, known_format));
  }
  const std::string torch = said.at("torch");
  if (torch != TORCH_VERSION) {
    refuse(file, fmt::format("was compiled by torch {}, this program runs torch {}; make it again "
                             "with that version",
                             torch, TORCH_VERSION));
  }
  const std::array<std::string, 3> levels{"DEFAULT", "AVX2", "AVX512"};
  const std::string processor = said.at("processor");
  const std::string ours = at::get_cpu_capability();
  if (std::ranges::find(levels, processor) > std::ranges::find(levels, ours)) {
    refuse(file, fmt::format("was compiled for processors with {}, and this one has {}; make it "
                             "again on a machine like this one",
                             processor, ours));
  }
}

/// Code that is damaged would run.
void check_sums(Reader& reader) {
  const nlohmann::json sums = nlohmann::json::parse(record_of(reader, sums_record));
  for (const auto& [name, sum] : sums.items()) {
    if (sum != zip_checksum(record_of(reader, name))) {
      throw Error(Fault::bad_input, "the checksum of " + name + " does not hold");
    }
  }
}

CompiledPackage read(Reader& reader, const std::string& file) {
  check_sums(reader);
  const nlohmann::json said = nlohmann::json::parse(record_of(reader, about_record));
  check_made_for_us(said, file);
  const std::string values = record_of(reader, start_record);
  std::string_view start = values;
  CompiledPackage package{.file = file,
                          .batch = said.at("batch"),
                          .features = sample_of(said.at("features")),
                          .labels = sample_of(said.at("labels")),
                          .outputs = sample_of(said.at("outputs")),
                          .loss = said.at("loss"),
                          .label_smoothing = said.at("label_smoothing"),
                          .random = said.at("random"),
                          .parameters = tensors_of(said.at("parameters"), start),
                          .buffers = tensors_of(said.at("buffers"), start)};
  if (package.batch < 1 || package.parameters.empty() || !start.empty()) {
    throw Error(Fault::bad_input, "it has no samples a batch, no parameters, or values of others");
  }
  for (const NamedTensor& each : package.parameters) {
    each.tensor.set_requires_grad(true);
  }
  return package;
}

/// The first line of what a library threw.
std::string first_line(const std::exception& error) {
  const std::string why = error.what();
  return why.substr(0, why.find('\n'));
}

void check_sample(const CompiledPackage& package, const char* what,
                  const CompiledPackage::Sample& compiled, const CompiledPackage::Sample& data) {
  if (compiled.shape != data.shape || compiled.type != data.type) {
    refuse(package.file,
           fmt::format("was compiled for {} of {} a sample, but the data wants {}; make it again "
                       "with an example() of that shape, or set data.shape",
                       what, compiled.text(), data.text()));
  }
}

constexpr std::array<std::uint32_t, 256> checksum_table = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    table.at(i) = i;
    for (int bit = 0; bit < 8; ++bit) {
      table.at(i) = table.at(i) >> 1 ^ ((table.at(i) & 1U) != 0 ? 0xEDB88320U : 0U);
    }
  }
  return table;
}();

}  // namespace

std::uint32_t zip_checksum(std::string_view bytes) {
  std::uint32_t sum = ~0U;
  for (const char byte : bytes) {
    sum = sum >> 8 ^ checksum_table[(sum ^ static_cast<unsigned char>(byte)) & 0xFFU];
  }
  return ~sum;
}

std::string CompiledPackage::Sample::text() const {
  return shape.empty() ? "one " + type : fmt::format("{} {}", fmt::join(shape, " x "), type);
}

CompiledPackage read_compiled_package(const std::string& file) {
  if (!std::filesystem::exists(file)) {
    throw Error(Fault::bad_input, fmt::format("model.file: there is no file {}", file));
  }
  std::string why;
  try {
    Reader reader(file);
    if (reader.hasRecord(about_record)) {
      return read(reader, file);
    }
    why =
        "is a package of torch, but holds no training step; make it with "
        "configs/examples/compiled_step/compile_step.py";
  } catch (const Error& error) {
    if (std::string_view(error.what()).starts_with("model.file")) {
      throw;
    }
    why = fmt::format("is damaged ({}); make it again", error.what());
  } catch (const std::exception& error) {
    why = fmt::format(
        "is no compiled step (.pt2), or is damaged ({}); make it with "
        "configs/examples/compiled_step/compile_step.py",
        first_line(error));
  }
  refuse(file, why);
}

void check_data(const CompiledPackage& package, const DataShape& data) {
  const auto type_name = [](DType type) { return std::string(name_of(type)); };
  check_sample(package, "features", package.features,
               {data.features, type_name(data.feature_type)});
  check_sample(package, "labels", package.labels, {data.label_shape, type_name(data.label_type())});
  const std::vector<std::int64_t> wanted = output_shape_of(data);
  const bool is_one_value = wanted.back() == 1 && package.outputs.shape.empty();
  if (package.outputs.shape != wanted && !is_one_value) {
    refuse(
        package.file,
        fmt::format("gives outputs of {} a sample, but the labels ({}) want {}; the last layer "
                    "must have {} outputs",
                    package.outputs.text(), data.text(), fmt::join(wanted, " x "), wanted.back()));
  }
}

}  // namespace muster
