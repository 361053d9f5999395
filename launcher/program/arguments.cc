// SPDX-License-Identifier: Apache-2.0
#include "launcher/program/arguments.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "runtime/base/error.h"

namespace muster {
namespace {

using Json = nlohmann::ordered_json;

/// What Python's str() shows of a decoded JSON value; nested objects as "k=v,k2=v2", as the toolkit
/// writes them.
std::string python_text(const Json& value) {
  if (value.is_string()) {
    return value.get<std::string>();
  }
  if (value.is_boolean()) {
    return value.get<bool>() ? "True" : "False";
  }
  if (value.is_null()) {
    return "None";
  }
  if (value.is_object()) {
    std::string text;
    for (const auto& [key, inner] : value.items()) {
      text += fmt::format("{}{}={}", text.empty() ? "" : ",", key, python_text(inner));
    }
    return text;
  }
  if (value.is_array()) {
    std::string text;
    for (const auto& inner : value) {
      const std::string quote = inner.is_string() ? "'" : "";
      text += fmt::format("{}{}{}{}", text.empty() ? "" : ", ", quote, python_text(inner), quote);
    }
    return "[" + text + "]";
  }
  return value.dump();
}

/// Numbers keep their spelling: "1e-3" stays "1e-3" rather than becoming what a float prints.
std::string sagemaker2_text(const std::string& word) {
  const Json value = Json::parse(word, nullptr, false);
  return value.is_discarded() || value.is_number() ? word : python_text(value);
}

std::string sagemaker3_text(const std::string& word) {
  const Json value = Json::parse(word, nullptr, false);
  return value.is_string() ? value.get<std::string>() : word;
}

void append(std::vector<std::string>& words, const std::string& key, const std::string& value,
            ArgumentStyle style) {
  switch (style) {
    case ArgumentStyle::plain:
      words.insert(words.end(), {"--" + key, value});
      return;
    case ArgumentStyle::hydra:
      words.push_back(key + "=" + value);
      return;
    case ArgumentStyle::sagemaker2:
      words.insert(words.end(), {(key.size() == 1 ? "-" : "--") + key, sagemaker2_text(value)});
      return;
    case ArgumentStyle::sagemaker3:
      words.insert(words.end(), {"--" + key, sagemaker3_text(value)});
      return;
  }
}

}  // namespace

ArgumentStyle argument_style(std::string_view name) {
  if (name == "plain") {
    return ArgumentStyle::plain;
  }
  if (name == "hydra") {
    return ArgumentStyle::hydra;
  }
  if (name == "sagemaker2") {
    return ArgumentStyle::sagemaker2;
  }
  if (name == "sagemaker3") {
    return ArgumentStyle::sagemaker3;
  }
  throw Error(
      Fault::bad_input,
      fmt::format("trial.arguments = {}: it is plain, hydra, sagemaker2 or sagemaker3", name));
}

bool is_reserved_parameter(std::string_view key) {
  return key.starts_with("sagemaker_") || key == "_tuning_objective_metric";
}

std::vector<std::string> arguments_for(const Parameters& parameters, ArgumentStyle style) {
  Parameters passed = parameters;
  if (style != ArgumentStyle::sagemaker3) {
    std::ranges::stable_sort(passed, {}, &std::pair<std::string, std::string>::first);
  }
  std::vector<std::string> words;
  const bool strips = style == ArgumentStyle::sagemaker2 || style == ArgumentStyle::sagemaker3;
  for (const auto& [key, value] : passed) {
    if (!strips || !is_reserved_parameter(key)) {
      append(words, key, value, style);
    }
  }
  return words;
}

}  // namespace muster
