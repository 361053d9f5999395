// SPDX-License-Identifier: Apache-2.0
#include "launcher/request/request_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster {

using Json = nlohmann::ordered_json;

void RequestFindings::finish(std::string_view what) const {
  if (!violations.empty()) {
    throw Error(Fault::bad_input, fmt::format("{} has {} {}:\n  {}", what, violations.size(),
                                              violations.size() == 1 ? "violation" : "violations",
                                              join(violations, "\n  ")));
  }
}

RequestReader::RequestReader(const Json& value, std::string path, RequestFindings& findings)
    : value_(value), path_(std::move(path)), findings_(findings) {}

RequestReader::~RequestReader() {
  const std::vector<std::string> known(asked_.begin(), asked_.end());
  for (const auto& [field, value] : value_.items()) {
    if (!asked_.contains(field)) {
      const auto near = nearest(field, known);
      violate(field,
              near ? fmt::format("unknown field; did you mean {}?", *near) : "unknown field");
    }
  }
}

std::string RequestReader::path_of(const std::string& field) const {
  return path_.empty() ? field : path_ + "." + field;
}

void RequestReader::violate(const std::string& field, std::string_view sentence) {
  findings_.violations.push_back(fmt::format("{}: {}", path_of(field), sentence));
}

void RequestReader::cap(const std::string& field, bool holds, std::string_view sentence) {
  if (findings_.strict && !holds) {
    violate(field,
            fmt::format("{} (a limit of the managed service; leave out --strict to go without)",
                        sentence));
  }
}

void RequestReader::note(const std::string& field, std::string_view sentence) {
  findings_.notes.push_back(fmt::format("{}: {}", path_of(field), sentence));
}

bool RequestReader::has(const std::string& field) const {
  return value_.contains(field);
}

const Json* RequestReader::find(const std::string& field, bool required) {
  asked_.insert(field);
  const auto found = value_.find(field);
  if (found == value_.end() || found->is_null()) {
    if (required) {
      violate(field, "is required");
    }
    return nullptr;
  }
  return &*found;
}

std::optional<std::string> RequestReader::text(const std::string& field, bool required) {
  const Json* value = find(field, required);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (!value->is_string()) {
    violate(field, fmt::format("must be a string, not {}", value->dump()));
    return std::nullopt;
  }
  return value->get<std::string>();
}

std::optional<std::string> RequestReader::word(const std::string& field,
                                               const std::vector<std::string>& words,
                                               bool required) {
  auto value = text(field, required);
  if (value && std::ranges::find(words, *value) == words.end()) {
    violate(field, fmt::format("must be one of {}, not {}", join(words, ", "), *value));
    return std::nullopt;
  }
  return value;
}

std::optional<std::int64_t> RequestReader::integer(const std::string& field, std::int64_t least,
                                                   bool required) {
  const Json* value = find(field, required);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (!value->is_number_integer() || value->get<std::int64_t>() < least) {
    violate(field,
            fmt::format("must be a whole number of at least {}, not {}", least, value->dump()));
    return std::nullopt;
  }
  return value->get<std::int64_t>();
}

std::optional<double> RequestReader::number(const std::string& field) {
  const Json* value = find(field, false);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (!value->is_number()) {
    violate(field, fmt::format("must be a number, not {}", value->dump()));
    return std::nullopt;
  }
  return value->get<double>();
}

std::optional<bool> RequestReader::boolean(const std::string& field) {
  const Json* value = find(field, false);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (!value->is_boolean()) {
    violate(field, fmt::format("must be true or false, not {}", value->dump()));
    return std::nullopt;
  }
  return value->get<bool>();
}

std::vector<std::pair<std::string, std::string>> RequestReader::map(const std::string& field) {
  std::vector<std::pair<std::string, std::string>> result;
  if (const Json* entries = object(field)) {
    for (const auto& [key, value] : entries->items()) {
      if (value.is_string()) {
        result.emplace_back(key, value.get<std::string>());
      } else {
        violate(field + "." + key,
                fmt::format("must be a string, not {}: the service knows only strings here",
                            value.dump()));
      }
    }
  }
  return result;
}

const Json* RequestReader::object(const std::string& field, bool required) {
  const Json* value = find(field, required);
  if (value != nullptr && !value->is_object()) {
    violate(field, fmt::format("must be an object, not {}", value->dump()));
    return nullptr;
  }
  return value;
}

std::vector<const Json*> RequestReader::list(const std::string& field, bool required) {
  std::vector<const Json*> result;
  const Json* value = find(field, required);
  if (value != nullptr && !value->is_array()) {
    violate(field, fmt::format("must be a list, not {}", value->dump()));
    return result;
  }
  for (std::size_t i = 0; value != nullptr && i < value->size(); ++i) {
    result.push_back(&(*value)[i]);
  }
  return result;
}

void RequestReader::ignore(const std::vector<std::string>& fields, std::string_view why) {
  for (const auto& field : fields) {
    if (find(field, false) != nullptr) {
      note(field, why);
    }
  }
}

}  // namespace muster
