// SPDX-License-Identifier: Apache-2.0
#include "hpo/ask_tell.h"

#include <array>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "hpo/study_json.h"
#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/base/text.h"

namespace muster::hpo {
namespace {

using nlohmann::json;
using Code = Refusal::Code;

std::string resource_text(double resource) {
  return std::isfinite(resource) ? exact(resource) : "null";
}

std::string tell(Study& study, Fields& fields) {
  Study::Told told;
  told.trial = fields.trial();
  told.resource = fields.number_if_there("resource");
  const std::optional<double> value = fields.value_if_there("value");
  told.seconds = fields.number_if_there("seconds").value_or(0.0);
  if (const json* metrics = fields.any_if_there("metrics")) {
    if (!metrics->is_object()) {
      bad_request(Code::field, "\"metrics\" is an object of names and numbers");
    }
    for (const auto& [name, number] : metrics->items()) {
      if (!number.is_number() && !number.is_null()) {
        bad_request(Code::field, "metrics." + name + " is a number");
      }
      told.metrics.emplace_back(
          name, number.is_null() ? std::numeric_limits<double>::quiet_NaN() : number.get<double>());
    }
  }
  if (const json* info = fields.any_if_there("info"); info != nullptr && !info->empty()) {
    told.info = info->dump();
  }
  fields.done();
  if (!value) {
    bad_request(Code::field, "\"value\" is missing; null says that it is no number");
  }
  told.value = *value;
  const auto answer = study.tell(told);
  if (const auto* refusal = std::get_if<Refusal>(&answer)) {
    return error_line(*refusal);
  }
  const auto& verdict = std::get<Verdict>(answer);
  std::string text = "{\"trial\":" + std::to_string(told.trial) + ",\"decision\":\"" +
                     std::string(name_of(verdict.decision)) + "\"";
  if (verdict.decision == Decision::keep_going) {
    text += ",\"resource\":" + resource_text(verdict.to);
  }
  return text + "}";
}

std::string end(Study& study, Fields& fields) {
  const TrialId trial = fields.trial();
  const std::string status = fields.text("status");
  const std::string reason = fields.text_if_there("reason").value_or("");
  const std::optional<double> value = fields.value_if_there("value");
  fields.done();
  const std::optional<TrialState> state = trial_state(status);
  if (!state || (*state != TrialState::complete && *state != TrialState::failed &&
                 *state != TrialState::evicted && *state != TrialState::preempted)) {
    bad_request(Code::field, "\"status\" is complete, failed, evicted or preempted, not " + status);
  }
  if (value && *state != TrialState::complete) {
    bad_request(Code::field, "only a complete trial carries a value; tell it before");
  }
  if (const auto refusal = study.end(trial, *state, reason, value)) {
    return error_line(*refusal);
  }
  return "{\"trial\":" + std::to_string(trial) + ",\"state\":\"" +
         std::string(name_of(study.state().find(trial)->state)) + "\"}";
}

std::set<TrialId> holding_of(Fields& fields) {
  std::set<TrialId> holding;
  if (const json* list = fields.any_if_there("holding")) {
    if (!list->is_array()) {
      bad_request(Code::field, "\"holding\" is a list of trials");
    }
    for (const json& trial : *list) {
      if (!trial.is_number_unsigned()) {
        bad_request(Code::field, "\"holding\" is a list of trials");
      }
      holding.insert(trial.get<TrialId>());
    }
  }
  return holding;
}

[[noreturn]] void unknown_operation(const std::string& op) {
  static const std::vector<std::string> known = {"hello",   "ask", "tell", "end",
                                                 "enqueue", "add", "set",  "best"};
  const auto near = nearest(op, known);
  bad_request(Code::field, "\"op\" is one of " + join(known, ", ") + ", not \"" + op + "\"" +
                               (near ? "; did you mean \"" + *near + "\"?" : ""));
}

}  // namespace

AskTell::AskTell(std::function<std::unique_ptr<Study>()> open)
    : open_(std::move(open)), study_(open_()) {}

std::string AskTell::answer(std::span<const std::string_view> lines) {
  std::string answers;
  std::size_t count = 0;
  for (const std::string_view line : lines) {
    if (!trim(line).empty()) {
      answers += answer_one(line) + "\n";
      ++count;
    }
  }
  try {
    study_->commit();
    return answers;
  } catch (const Error& error) {
    log::error(report(error));
    study_ = open_();
    study_->keep_running();
    answers.clear();
    for (; count > 0; --count) {
      answers += error_line({Code::io, report(error)}) + "\n";
    }
    return answers;
  }
}

std::string AskTell::answer_one(std::string_view line) {
  try {
    const json request = parse_request(line);
    Fields fields(request);
    const std::string op = fields.text("op");
    if (op == "tell") {
      return tell(*study_, fields);
    }
    if (op == "ask") {
      const std::set<TrialId> holding = holding_of(fields);
      fields.done();
      return ask(holding);
    }
    if (op == "end") {
      return end(*study_, fields);
    }
    if (op == "hello") {
      fields.done();
      return hello();
    }
    if (op == "enqueue") {
      return do_enqueue(*study_, fields);
    }
    if (op == "add") {
      return do_add(*study_, fields);
    }
    if (op == "set") {
      return do_set(*study_, fields);
    }
    if (op == "best") {
      return do_best(*study_, fields);
    }
    unknown_operation(op);
  } catch (const BadRequest& bad) {
    return error_line(bad.refusal);
  }
}

std::string AskTell::hello() const {
  const StudySetup& setup = study_->setup();
  json answer = {{"protocol", 1},
                 {"sweep", setup.name},
                 {"objective", setup.metric},
                 {"goal", setup.maximise ? "max" : "min"},
                 {"max_resource", nullptr},
                 {"out", study_->state().running()}};
  if (const auto resource = setup.max_resource()) {
    answer["max_resource"] = json::parse(exact(*resource));
  }
  return answer.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string AskTell::ask(const std::set<TrialId>& holding) {
  while (true) {
    const Next next = study_->next(holding);
    switch (next.kind) {
      case Next::Kind::launch:
        return launched(study_->launch(next), next.again);
      case Next::Kind::propose:
        study_->propose();
        break;
      case Next::Kind::wait:
        return R"({"trial":null,"wait":true})";
      case Next::Kind::done:
        return "{\"trial\":null,\"done\":true,\"reason\":" + json(next.reason).dump() + "}";
    }
  }
}

std::string AskTell::launched(const Launch& launch, bool again) const {
  return "{\"trial\":" + std::to_string(launch.trial) +
         ",\"params\":" + params_json(study_->setup().space, launch.config) +
         ",\"from\":" + exact(launch.from) + ",\"resource\":" + resource_text(launch.to) +
         ",\"resumes\":" + (launch.attempt > 1 ? "true" : "false") +
         (again ? ",\"again\":true}" : "}");
}

}  // namespace muster::hpo
