// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/fingerprint.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/version.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "runtime/base/error.h"
#include "runtime/base/text.h"
#include "runtime/config/resolved.h"

namespace muster {
namespace {

/// Where things lie; that they are the same is known from the things themselves.
constexpr std::array<std::string_view, 7> places{
    "data.path",  "data.labels", "data.validation", "data.validation_labels",
    "model.init", "model.file",  "model.init_map"};
/// How sums are taken; as ranks and threads, they may be others.
constexpr std::array<std::string_view, 8> ways{
    "train.exchange", "train.bucket_mb",   "train.shard_optimizer", "train.wire",
    "train.graph",    "train.graph_steps", "train.short_ms",        "train.recompute"};

bool is_training_key(std::string_view key) {
  constexpr std::array<std::string_view, 5> sections{"model.", "data.", "optimizer.", "schedule.",
                                                     "train."};
  return std::ranges::any_of(sections, [&](auto section) { return key.starts_with(section); });
}

constexpr std::array<std::string_view, 3> label_kinds{"classes", "values", "tokens"};

std::vector<std::int64_t> lengths_from(const std::string& text) {
  std::vector<std::int64_t> lengths;
  if (text == "scalar") {
    return lengths;
  }
  for (const std::string& part : split(text, 'x')) {
    const auto length = parse_int(part);
    if (!length) {
      throw Error(Fault::bad_input, "'" + text + "' is no shape of samples");
    }
    lengths.push_back(*length);
  }
  return lengths;
}

std::string text_of(const std::vector<std::int64_t>& lengths) {
  return lengths.empty() ? "scalar" : fmt::format("{}", fmt::join(lengths, "x"));
}

bool depends_on_length(const ScheduleSettings& schedule) {
  return schedule.kind == "cosine" || schedule.kind == "one_cycle";
}

}  // namespace

std::string sample_text(const DataShape& shape) {
  return fmt::format("{} {}, {} {} {}", name_of(shape.feature_type), text_of(shape.features),
                     label_kinds.at(static_cast<std::size_t>(shape.labels)),
                     text_of(shape.label_shape), shape.classes);
}

DataShape sample_from(const std::string& text) {
  const auto parts = words(text);
  const auto labels =
      parts.size() == 5 ? std::ranges::find(label_kinds, parts[2]) : label_kinds.end();
  const auto classes = parts.size() == 5 ? parse_int(parts[4]) : std::nullopt;
  if (labels == label_kinds.end() || !classes || !parts[1].ends_with(',')) {
    throw Error(Fault::bad_input, "'" + text + "' does not describe samples");
  }
  DataShape shape;
  shape.feature_type = parts[0] == name_of(DType::int64) ? DType::int64 : DType::float32;
  shape.features = lengths_from(parts[1].substr(0, parts[1].size() - 1));
  shape.labels = static_cast<DataShape::Labels>(labels - label_kinds.begin());
  shape.label_shape = lengths_from(parts[3]);
  shape.classes = *classes;
  return shape;
}

CheckpointInfo fingerprint(const JobSettings& job, const Model& model, const Dataset& data,
                           int ranks, std::uint64_t steps) {
  CheckpointInfo info;
  info.settings = {{"model", model.fingerprint()},
                   {"data", data.fingerprint()},
                   {"sample", sample_text(data.shape())}};
  info.environment = {{"ranks", std::to_string(ranks)},
                      {"threads", std::to_string(at::get_num_threads())},
                      {"train.device", job.train.device},
                      {"libtorch", TORCH_VERSION},
                      {"processor", at::get_cpu_capability()}};
  const Normalisation by = data.normalisation();
  for (const auto& [key, text] :
       {std::pair("input_scale", text_of(by.scale)), std::pair("input_shift", text_of(by.shift))}) {
    if (!text.empty()) {
      info.environment.push_back({key, text});
    }
  }
  if (depends_on_length(job.schedule)) {
    info.environment.push_back({"steps", std::to_string(steps)});
  }
  JobSettings copy = job;
  Keys keys;
  describe(keys, copy);
  for (auto& [key, value] : fixed_values(keys)) {
    if (std::ranges::find(ways, key) != ways.end()) {
      info.environment.push_back({key, value});
    } else if (is_training_key(key) && std::ranges::find(places, key) == places.end()) {
      info.settings.push_back({key, value});
    }
  }
  return info;
}

}  // namespace muster
