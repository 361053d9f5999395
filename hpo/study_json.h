/// What ask and tell and the control directory have in common: requests as JSON objects, read
/// strictly, and the answers to those that both know. Included by sources only: it brings nlohmann
/// json.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "hpo/study.h"

namespace muster::hpo {

/// A request that cannot be served, thrown inside the two sources and turned into
/// {"error":..,"code":..} at their edge.
struct BadRequest {
  Refusal refusal;
};
[[noreturn]] void bad_request(Refusal::Code code, std::string text);

/// One JSON object. NaN and Infinity, as Python prints them, read as null.
nlohmann::json parse_request(std::string_view line);

/// The fields of a request: each is asked for once by name and type; what is left over is an error.
class Fields {
 public:
  explicit Fields(const nlohmann::json& request);
  bool has(const char* name) const { return request_.contains(name); }
  std::string text(const char* name);
  std::optional<std::string> text_if_there(const char* name);
  TrialId trial(const char* name = "trial");
  std::optional<double> number_if_there(const char* name);  ///< null is an error
  std::optional<double> value_if_there(const char* name);   ///< null is NaN
  const nlohmann::json* any_if_there(const char* name);
  void done() const;  ///< every field was asked for

 private:
  const nlohmann::json* take(const char* name);
  const nlohmann::json& request_;
  std::set<std::string, std::less<>> left_;
};

std::string error_line(const Refusal& refusal);
/// {"lr":0.01,"kind":"cnn"}: words as JSON by the kind of their list.
std::string params_json(const Space& space, const Config& config);
Space::Params params_of(const nlohmann::json& object);

// The operations of both. Each returns its answer, without a newline.
std::string do_enqueue(Study& study, Fields& fields);
std::string do_add(Study& study, Fields& fields);
std::string do_set(Study& study, Fields& fields);
std::string do_best(const Study& study, Fields& fields);

}  // namespace muster::hpo
