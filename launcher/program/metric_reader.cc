// SPDX-License-Identifier: Apache-2.0
#include "launcher/program/metric_reader.h"

#include <fmt/format.h>

#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <regex>

#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

using Json = nlohmann::ordered_json;
// std::regex takes quadratic time and a stack frame a character.
constexpr std::size_t longest_line = 2048;

struct Definition {
  std::string name;
  std::string text;
  std::regex expression;
  std::uint64_t matches = 0;
  std::string not_a_number;  // the first text that matched and was no number
};

Definition compile(const std::string& name, const std::string& text) {
  try {
    Definition definition{
        .name = name, .text = text, .expression = std::regex(text, std::regex::optimize)};
    if (definition.expression.mark_count() == 0) {
      throw Error(
          Fault::bad_input,
          fmt::format(
              "trial.metric.{} = {}: it needs a group in parentheses around the number, as in "
              "accuracy=([0-9.]+)",
              name, text));
    }
    return definition;
  } catch (const std::regex_error& error) {
    throw Error(Fault::bad_input, fmt::format("trial.metric.{} = {}: not a regular expression: {}",
                                              name, text, error.what()));
  }
}

/// Python prints NaN, Infinity and -Infinity into JSON, where the standard has none.
std::string with_quoted_constants(std::string_view line) {
  static const std::regex constants(R"(([:,\[]\s*)(NaN|-?Infinity)(?=\s*[,}\]]))");
  return std::regex_replace(std::string(line), constants, "$1\"$2\"");
}

std::optional<double> number_of(const Json& value) {
  if (value.is_number()) {
    return value.get<double>();
  }
  if (value.is_null() || value == "NaN") {
    return std::numeric_limits<double>::quiet_NaN();
  }
  if (value == "Infinity" || value == "-Infinity") {
    return (value == "Infinity" ? 1 : -1) * std::numeric_limits<double>::infinity();
  }
  return std::nullopt;
}

}  // namespace

struct LineMetrics::Impl {
  std::vector<Definition> definitions;
};

LineMetrics::LineMetrics(const Definitions& definitions) : impl_(std::make_unique<Impl>()) {
  for (const auto& [name, text] : definitions) {
    impl_->definitions.push_back(compile(name, text));
  }
}
LineMetrics::~LineMetrics() = default;
LineMetrics::LineMetrics(LineMetrics&&) noexcept = default;
LineMetrics& LineMetrics::operator=(LineMetrics&&) noexcept = default;

std::vector<MetricPoint> LineMetrics::read(std::string_view line) {
  std::vector<MetricPoint> points;
  line = line.substr(0, longest_line);
  for (auto& definition : impl_->definitions) {
    std::match_results<std::string_view::const_iterator> match;
    if (!std::regex_search(line.begin(), line.end(), match, definition.expression)) {
      continue;
    }
    const std::string word = match[1].str();
    if (const auto value = parse_double(trim(word))) {
      ++definition.matches;
      points.push_back({.name = definition.name, .value = *value, .resource = {}});
    } else if (definition.not_a_number.empty()) {
      definition.not_a_number = word;
    }
  }
  return points;
}

std::vector<std::string> LineMetrics::complaints() const {
  std::vector<std::string> sentences;
  for (const auto& definition : impl_->definitions) {
    if (definition.matches == 0 && definition.not_a_number.empty()) {
      sentences.push_back(fmt::format("metric {}: no line of the output matched {}",
                                      definition.name, definition.text));
    } else if (definition.matches == 0) {
      sentences.push_back(fmt::format("metric {}: {} matched '{}', which is not a number",
                                      definition.name, definition.text, definition.not_a_number));
    }
  }
  return sentences;
}

FileMetrics::FileMetrics(Path file, std::string resource_key)
    : file_(std::move(file)), resource_key_(std::move(resource_key)) {}

std::vector<MetricPoint> FileMetrics::read_new() {
  std::vector<MetricPoint> points;
  if (!posix_file_system().exists(file_)) {
    return points;
  }
  auto file = posix_file_system().open(file_, OpenMode::read);
  std::array<std::byte, 16384> block{};
  for (std::size_t got = block.size(); got == block.size();) {
    got = file->read_at(offset_, block);
    offset_ += got;
    rest_.append(reinterpret_cast<const char*>(block.data()), got);
  }
  std::size_t begin = 0;
  for (auto end = rest_.find('\n'); end != std::string::npos; end = rest_.find('\n', begin)) {
    ++line_;
    read_line(trim(std::string_view(rest_).substr(begin, end - begin)), points);
    begin = end + 1;
  }
  rest_.erase(0, begin);
  return points;
}

void FileMetrics::read_line(std::string_view line, std::vector<MetricPoint>& points) {
  if (line.empty()) {
    return;
  }
  const Json object = Json::parse(with_quoted_constants(line), nullptr, false);
  if (!object.is_object()) {
    if (complaints_.size() < 3) {
      complaints_.push_back(
          fmt::format("{}:{}: not a JSON object: {}", file_.string(), line_, line.substr(0, 80)));
    }
    return;
  }
  std::optional<double> resource;
  for (const auto& key : {resource_key_, std::string("step")}) {
    if (!resource && !key.empty() && object.contains(key)) {
      resource = number_of(object[key]);
    }
  }
  for (const auto& [key, value] : object.items()) {
    const auto number = number_of(value);
    if (number && key != resource_key_ && key != "step") {
      points.push_back({.name = key, .value = *number, .resource = resource});
    }
  }
}

std::vector<std::string> FileMetrics::complaints() const {
  return complaints_;
}

}  // namespace muster
