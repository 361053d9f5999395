// SPDX-License-Identifier: Apache-2.0
#include "hpo/study_json.h"

#include <array>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster::hpo {
namespace {

using nlohmann::json;
using Code = Refusal::Code;

constexpr std::array<std::string_view, 5> not_built = {"values", "objectives", "constraint",
                                                       "constraints", "violation"};

/// Python's json module writes NaN, Infinity and -Infinity, which are no JSON: null outside of
/// strings.
std::string without_nan(std::string_view line) {
  std::string plain;
  bool in_string = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (in_string && c == '\\' && i + 1 < line.size()) {
      plain += line.substr(i++, 2);
      continue;
    }
    in_string = c == '"' ? !in_string : in_string;
    bool replaced = false;
    for (const std::string_view word : {"-Infinity", "Infinity", "NaN"}) {
      if (!in_string && !replaced && line.substr(i, word.size()) == word) {
        plain += "null";
        i += word.size() - 1;
        replaced = true;
      }
    }
    if (!replaced) {
      plain += c;
    }
  }
  return plain;
}

std::string quoted(const std::string& text) {
  return json(text).dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string word_of(const std::string& key, const json& value) {
  if (value.is_string()) {
    return value.get<std::string>();
  }
  if (value.is_boolean() || value.is_number()) {
    return value.dump();
  }
  bad_request(Code::field, "params." + key + " is a number, a word or a boolean");
}

}  // namespace

void bad_request(Code code, std::string text) {
  throw BadRequest{{code, std::move(text)}};
}

json parse_request(std::string_view line) {
  const bool may_have_nan =
      line.find("NaN") != std::string_view::npos || line.find("Infinity") != std::string_view::npos;
  json request = may_have_nan ? json::parse(without_nan(line), nullptr, false)
                              : json::parse(line, nullptr, false);
  if (request.is_discarded()) {
    bad_request(Code::parse, "this is not JSON; a request is one object on one line");
  }
  if (!request.is_object()) {
    bad_request(Code::parse, "a request is a JSON object, such as {\"op\":\"ask\"}");
  }
  return request;
}

Fields::Fields(const json& request) : request_(request) {
  for (const auto& [name, value] : request.items()) {
    left_.insert(name);
  }
}

const json* Fields::take(const char* name) {
  const auto found = request_.find(name);
  if (found == request_.end()) {
    return nullptr;
  }
  left_.erase(left_.find(name));
  return &*found;
}

const json* Fields::any_if_there(const char* name) {
  return take(name);
}

std::string Fields::text(const char* name) {
  std::optional<std::string> text = text_if_there(name);
  if (!text) {
    bad_request(Code::field, std::string("\"") + name + "\" is missing");
  }
  return *std::move(text);
}

std::optional<std::string> Fields::text_if_there(const char* name) {
  const json* value = take(name);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (!value->is_string()) {
    bad_request(Code::field, std::string("\"") + name + "\" is a text");
  }
  return value->get<std::string>();
}

TrialId Fields::trial(const char* name) {
  const json* value = take(name);
  if (value == nullptr || !value->is_number_unsigned() ||
      value->get<std::uint64_t>() > std::numeric_limits<TrialId>::max()) {
    bad_request(Code::field, std::string("\"") + name + "\" is the number of a trial");
  }
  return value->get<TrialId>();
}

std::optional<double> Fields::number_if_there(const char* name) {
  const json* value = take(name);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (!value->is_number()) {
    bad_request(Code::field, std::string("\"") + name + "\" is a number");
  }
  return value->get<double>();
}

std::optional<double> Fields::value_if_there(const char* name) {
  const auto found = request_.find(name);
  if (found != request_.end() && found->is_null()) {
    take(name);
    return std::numeric_limits<double>::quiet_NaN();
  }
  return number_if_there(name);
}

void Fields::done() const {
  if (left_.empty()) {
    return;
  }
  const std::string& name = *left_.begin();
  for (const std::string_view word : not_built) {
    if (name == word) {
      bad_request(Code::unsupported, "\"" + name +
                                         "\": several objectives and constraints are not "
                                         "supported; tell one \"value\" that weighs them");
    }
  }
  if (name == "population") {
    bad_request(Code::unsupported,
                "\"population\": population-based training is not built; asha promotes and resumes "
                "trials");
  }
  bad_request(Code::field, "\"" + name + "\" is no field of this request");
}

std::string error_line(const Refusal& refusal) {
  return "{\"error\":" + quoted(refusal.text) + ",\"code\":\"" +
         std::string(name_of(refusal.code)) + "\"}";
}

std::string params_json(const Space& space, const Config& config) {
  std::string text = "{";
  for (std::size_t i = 0; i < space.size(); ++i) {
    if (i >= config.values.size() || std::isnan(config.values[i])) {
      continue;
    }
    const Parameter& parameter = space[i];
    const std::string word = space.word(i, config.values[i]);
    text += (text.size() > 1 ? "," : "") + quoted(parameter.key) + ":";
    const bool is_number = parameter.kind == Kind::number || parameter.json == JsonKind::number;
    const std::optional<double> number = is_number ? parse_double(word) : std::nullopt;
    if (number && std::isfinite(*number)) {
      text += exact(*number);
    } else {
      text += parameter.json == JsonKind::boolean ? word : quoted(word);
    }
  }
  return text + "}";
}

Space::Params params_of(const json& object) {
  if (!object.is_object()) {
    bad_request(Code::field, "\"params\" is an object of keys and values");
  }
  Space::Params params;
  for (const auto& [key, value] : object.items()) {
    params.emplace_back(key, word_of(key, value));
  }
  return params;
}

namespace {

Space::Params params_field(Fields& fields) {
  const json* params = fields.any_if_there("params");
  if (params == nullptr) {
    bad_request(Code::field, "\"params\" is missing");
  }
  return params_of(*params);
}

/// What the space says of bad words is the answer.
template <class Body>
auto as_field_error(Body&& body) {
  try {
    return body();
  } catch (const Error& error) {
    if (error.fault() != Fault::bad_input) {
      throw;
    }
    bad_request(Code::field, error.what());
  }
}

}  // namespace

std::string do_enqueue(Study& study, Fields& fields) {
  const Space::Params params = params_field(fields);
  fields.done();
  Random random(study.setup().seed ^ 0x656e7175657565U, study.state().next_id());
  const Config config =
      as_field_error([&] { return study.setup().space.complete(params, random); });
  return "{\"trial\":" + std::to_string(study.enqueue(config)) +
         ",\"state\":\"queued\",\"params\":" + params_json(study.setup().space, config) + "}";
}

std::string do_add(Study& study, Fields& fields) {
  const Space::Params params = params_field(fields);
  const std::optional<double> value = fields.value_if_there("value");
  const std::optional<double> resource = fields.number_if_there("resource");
  fields.done();
  if (!value) {
    bad_request(Code::field, "\"value\" is missing");
  }
  const Config config = as_field_error([&] { return study.setup().space.config(params); });
  const TrialId trial = study.add(config, resource, *value, !std::isfinite(*value), "added");
  return "{\"trial\":" + std::to_string(trial) + ",\"state\":\"" +
         std::string(name_of(study.state().find(trial)->state)) + "\"}";
}

std::string do_set(Study& study, Fields& fields) {
  Limits limits = study.state().limits();
  const std::array<std::pair<const char*, std::optional<double>*>, 6> known = {
      {{"max_trials", &limits.max_trials},
       {"max_wall", &limits.max_wall},
       {"max_slot_hours", &limits.max_slot_hours},
       {"target", &limits.target},
       {"patience", &limits.patience},
       {"max_failures", &limits.max_failures}}};
  bool has_any = false;
  for (const auto& [name, limit] : known) {
    if (const auto value = fields.value_if_there(name)) {
      const bool is_target = limit == &limits.target;
      if (!is_target && !std::isnan(*value) && *value <= 0.0) {
        bad_request(Code::field, std::string("\"") + name + "\" is above 0; null lifts it");
      }
      const bool is_count = name != std::string_view("max_wall") && !is_target &&
                            name != std::string_view("max_slot_hours");
      if (is_count && !std::isnan(*value) && *value != std::floor(*value)) {
        bad_request(Code::field, std::string("\"") + name + "\" is a whole number");
      }
      *limit = std::isnan(*value) ? std::nullopt : value;  // null lifts a limit
      has_any = true;
    }
  }
  fields.done();
  if (!has_any) {
    bad_request(
        Code::field,
        "set needs a limit: max_trials, max_wall, max_slot_hours, target, patience, max_failures");
  }
  if (limits.patience && *limits.patience < 3) {
    bad_request(Code::field, "\"patience\" is at least 3");
  }
  study.set_limits(limits);
  json answer = json::object();
  for (const auto& [name, limit] : known) {
    answer[name] = *limit ? json::parse(exact(**limit)) : json(nullptr);
  }
  return "{\"limits\":" + answer.dump() + "}";
}

std::string do_best(const Study& study, Fields& fields) {
  fields.done();
  const Trial* best = study.state().best();
  if (best == nullptr) {
    return R"({"trial":null})";
  }
  return "{\"trial\":" + std::to_string(best->id) + ",\"value\":" + exact(*best->value) +
         ",\"resource\":" + (best->resource > 0.0 ? exact(best->resource) : "null") +
         ",\"params\":" + params_json(study.setup().space, best->config) + "}";
}

}  // namespace muster::hpo
