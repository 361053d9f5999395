// SPDX-License-Identifier: Apache-2.0
#include "hpo/sweep_report.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "hpo/slot_time.h"
#include "hpo/study.h"
#include "hpo/study_json.h"
#include "runtime/base/clock.h"
#include "runtime/base/text.h"

namespace muster::hpo {
namespace {

using nlohmann::json;

template <class Number>
json or_null(const std::optional<Number>& value) {
  return value ? json(*value) : json(nullptr);
}

json worker_of(const Trial& trial) {
  return trial.spans.empty() ? json(nullptr)
                             : json("slot " + std::to_string(trial.spans.back().slot));
}

/// As the journal has them: whole microseconds, and no digits that binary fractions add.
double in_microseconds(double seconds) {
  return std::round(seconds * 1e6) / 1e6;
}

/// How often it came again after a failure: the last failure of a failed trial brought no retry.
std::uint32_t retries_of(const Trial& trial) {
  return trial.failures - (trial.state == TrialState::failed && trial.failures > 0 ? 1 : 0);
}

json row_of(const SweepState& state, const Trial& trial) {
  json row = {{"trial", trial.id},
              {"state", name_of(trial.state)},
              {"value", or_null(trial.value)},
              {"params", json::parse(params_json(state.setup().space, trial.config))},
              {"resource", nullptr},
              {"worker", worker_of(trial)},
              {"started", nullptr},
              {"ended", nullptr},
              {"retries", retries_of(trial)},
              {"origin", trial.origin},
              {"reason", state.why(trial)}};
  if (trial.resource > 0.0) {
    row["resource"] = trial.resource;
  }
  if (!trial.spans.empty()) {
    const auto& end = trial.spans.back().to;
    row["started"] = in_microseconds(trial.spans.front().from);
    row["ended"] = end ? json(in_microseconds(*end)) : json(nullptr);
  }
  return row;
}

json curve_of(const Trial& trial) {
  json curve = json::array();
  for (const Trial::Point& point : trial.curve) {
    curve.push_back({point.resource.value_or(trial.resource), point.value});
  }
  return curve;
}

json key_of(const Parameter& parameter) {
  json key = {{"name", parameter.key}};
  if (parameter.kind == Kind::number) {
    static constexpr const char* scales[] = {"linear", "log", "revlog", "logit"};
    key["kind"] = parameter.is_int ? "int" : "float";
    key["scale"] = scales[static_cast<std::size_t>(parameter.scale)];
    key["low"] = parameter.low;
    key["high"] = parameter.high;
  } else {
    key["kind"] = parameter.kind == Kind::choice  ? "choice"
                  : parameter.kind == Kind::order ? "order"
                                                  : "const";
    key["values"] = parameter.words;
  }
  return key;
}

json rungs_of(const SweepState& state) {
  const std::vector<double>& levels = state.scheduler().rungs();
  json rungs = json::array();
  for (const double level : levels) {
    std::size_t entered = 0;
    std::size_t promoted = 0;
    for (const Trial& trial : state.trials()) {
      const bool is_in = trial.resource >= level && trial.value && !trial.is_added;
      entered += is_in ? 1 : 0;
      promoted += is_in && (trial.resource > level ||
                            (trial.state == TrialState::running && trial.to > level))
                      ? 1
                      : 0;
    }
    rungs.push_back({{"resource", level}, {"entered", entered}, {"promoted", promoted}});
  }
  return rungs;
}

json slots_of(const SweepState& state, double now) {
  std::map<std::uint32_t, json> slots;
  for (const Trial& trial : state.trials()) {
    for (const Trial::Span& span : trial.spans) {
      slots.try_emplace(span.slot, json::array())
          .first->second.push_back({trial.id, span.from, span.to.value_or(now)});
    }
  }
  json list = json::array();
  for (auto& [slot, spans] : slots) {
    list.push_back({{"worker", "slot " + std::to_string(slot)}, {"spans", std::move(spans)}});
  }
  return list;
}

std::string dump(const json& document) {
  return document.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string csv_word(const std::string& word) {
  if (word.find_first_of(",\"\n") == std::string::npos) {
    return word;
  }
  std::string quoted = "\"";
  for (const char c : word) {
    quoted += c == '"' ? "\"\"" : std::string(1, c);
  }
  return quoted + "\"";
}

/// A record of the table is one line, whatever a program's last words were.
std::string in_one_line(std::string text) {
  std::ranges::replace(text, '\n', ' ');
  return text;
}

}  // namespace

std::string state_name(const SweepState& state, bool is_owned) {
  if (state.over() && state.running().empty()) {
    return *state.over() == stopped_by_hand ? "stopped"
           : state.best() == nullptr        ? "failed"
                                            : "finished";
  }
  return is_owned ? "running" : "interrupted";
}

std::string sweep_report(const SweepState& state, double now, const SweepReportExtras& extras) {
  const StudySetup& setup = state.setup();
  json trials = json::array();
  for (const Trial& trial : state.trials()) {
    json row = row_of(state, trial);
    row["curve"] = curve_of(trial);
    trials.push_back(std::move(row));
  }
  json keys = json::array();
  for (std::size_t i = 0; i < setup.space.size(); ++i) {
    keys.push_back(key_of(setup.space[i]));
  }
  const WallTime started{std::chrono::duration_cast<WallTime::duration>(
      std::chrono::duration<double>(state.started_wall()))};
  json document = {
      {"name", setup.name},
      {"objective", setup.objective},
      {"metric", setup.metric},
      {"goal", setup.maximise ? "max" : "min"},
      {"strategy",
       extras.strategy.empty() ? setup.searcher + " + " + setup.scheduler : extras.strategy},
      {"started", iso_time(started)},
      {"over", or_null(state.over())},
      {"seconds", now},
      {"slot_seconds", state.spent(now).slot_hours * 3600.0},
      {"lost_seconds", lost_seconds(state)},
      {"idle", idle_share(state)},
      {"resource", nullptr},
      {"keys", std::move(keys)},
      {"trials", std::move(trials)},
      {"rungs", rungs_of(state)},
      {"slots", slots_of(state, now)},
      {"importance", {{"method", extras.importance.method}, {"values", json::object()}}}};
  if (setup.max_resource()) {
    document["resource"] = extras.resource.empty() ? "resource" : extras.resource;
  }
  if (!extras.best_config.empty()) {
    document["best_config"] = extras.best_config;
  }
  for (const auto& [key, value] : extras.importance.values) {
    document["importance"]["values"][key] = value;
  }
  return dump(document);
}

std::string sweep_json(const SweepState& state, bool is_owned) {
  json trials = json::array();
  for (const Trial& trial : state.trials()) {
    trials.push_back(row_of(state, trial));
  }
  json document = {
      {"name", state.setup().name},          {"state", state_name(state, is_owned)},
      {"reason", or_null(state.over())},     {"goal", state.setup().maximise ? "max" : "min"},
      {"objective", state.setup().metric},   {"best", nullptr},
      {"lost_seconds", lost_seconds(state)}, {"trials", std::move(trials)}};
  if (const Trial* best = state.best()) {
    document["best"] = {{"trial", best->id},
                        {"value", or_null(best->value)},
                        {"params", json::parse(params_json(state.setup().space, best->config))}};
  }
  return dump(document);
}

std::string sweep_csv(const SweepState& state) {
  const Space& space = state.setup().space;
  std::string csv = "trial,state,value,resource,worker,started,ended,retries,origin,reason";
  for (std::size_t i = 0; i < space.size(); ++i) {
    csv += "," + csv_word(space[i].key);
  }
  csv += "\n";
  for (const Trial& trial : state.trials()) {
    const bool ran = !trial.spans.empty();
    csv += std::to_string(trial.id) + "," + std::string(name_of(trial.state)) + "," +
           (trial.value ? exact(*trial.value) : "") + "," +
           (trial.resource > 0.0 ? exact(trial.resource) : "") + "," +
           (ran ? "slot " + std::to_string(trial.spans.back().slot) : "") + "," +
           (ran ? exact(in_microseconds(trial.spans.front().from)) : "") + "," +
           (ran && trial.spans.back().to ? exact(in_microseconds(*trial.spans.back().to)) : "") +
           "," + std::to_string(retries_of(trial)) + "," + csv_word(trial.origin) + "," +
           csv_word(in_one_line(state.why(trial)));
    for (std::size_t i = 0; i < space.size(); ++i) {
      const double value = trial.config.values[i];
      csv += "," + (std::isnan(value) ? "" : csv_word(space.word(i, value)));
    }
    csv += "\n";
  }
  return csv;
}

}  // namespace muster::hpo
