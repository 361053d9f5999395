// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/control_words.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

using Json = nlohmann::json;

std::string plain(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

/// "lr 0.05, depth 3"; what is null is left out.
std::string listed(const Json& object) {
  std::vector<std::string> parts;
  for (const auto& [key, value] : object.items()) {
    if (!value.is_null()) {
      parts.push_back(key + " " + plain(value));
    }
  }
  return join(parts, ", ");
}

}  // namespace

std::string control_words(const std::string& sweep, const std::string& answer) {
  const Json told = Json::parse(answer);
  if (told.contains("error")) {
    throw Error(Fault::bad_input, fmt::format("{}: {}", sweep, plain(told["error"])));
  }
  if (told.contains("stopping")) {
    return fmt::format("{} saves its running trials and stops; muster resume {} goes on", sweep,
                       sweep);
  }
  if (told.contains("limits")) {
    const std::string limits = listed(told["limits"]);
    return fmt::format("{} runs on{}", sweep,
                       limits.empty() ? " without limits" : ", limited by " + limits);
  }
  const std::string trial =
      fmt::format("{}: trial {} is {}", sweep, plain(told.at("trial")), plain(told.at("state")));
  return told.contains("params") ? trial + ": " + listed(told["params"]) : trial;
}

}  // namespace muster
