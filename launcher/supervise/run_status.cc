// SPDX-License-Identifier: Apache-2.0
#include "launcher/supervise/run_status.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

using Json = nlohmann::ordered_json;

Json transitions_json(const std::vector<Transition>& transitions) {
  Json list = Json::array();
  for (const auto& one : transitions) {
    list.push_back(
        {{"status", one.status}, {"start", one.start}, {"end", one.end}, {"message", one.message}});
  }
  return list;
}

std::vector<Transition> transitions_of(const Json& list) {
  std::vector<Transition> transitions;
  for (const auto& one : list) {
    transitions.push_back(
        {one.at("status"), one.at("start"), one.value("end", ""), one.value("message", "")});
  }
  return transitions;
}

std::string tail_of(const Path& path, std::uint64_t bytes) {
  auto file = posix_file_system().open(path, OpenMode::read);
  const auto size = file->size();
  const auto from = size > bytes ? size - bytes : 0;
  std::string text(size - from, '\0');
  text.resize(file->read_at(from, std::as_writable_bytes(std::span(text))));
  return text;
}

std::optional<LastMetrics> metrics_of(const std::string& line) {
  const Json json = Json::parse(line, nullptr, false);
  if (!json.is_object()) {
    return std::nullopt;
  }
  LastMetrics metrics;
  for (const auto& [key, value] : json.items()) {
    if (!value.is_number()) {
      continue;
    }
    if (key == "step" && value.is_number_integer() && value.get<std::int64_t>() >= 0) {
      metrics.step = value.get<std::uint64_t>();
    } else if (key == "epoch") {
      metrics.epoch = value.get<double>();
    } else {
      metrics.values[key] = value.get<double>();
    }
  }
  return metrics;
}

}  // namespace

bool JobStatus::ended() const {
  const auto now = state();
  return now == state::completed || now == state::failed || now == state::stopped ||
         now == state::max_runtime;
}

void JobStatus::enter(const std::string& status, const std::string& message, WallTime now) {
  if (status == state()) {
    return;
  }
  const std::string time = iso_time(now);
  if (!transitions.empty()) {
    transitions.back().end = time;
  }
  transitions.push_back({status, time, "", message});
}

double JobStatus::useful_share() const {
  return run_seconds <= 0 ? 1.0 : std::clamp((run_seconds - lost_seconds) / run_seconds, 0.0, 1.0);
}

std::string to_json(const JobStatus& status) {
  Json json{{"name", status.name},
            {"state", status.state()},
            {"step", status.step},
            {"checkpoint_step", status.checkpoint_step},
            {"epoch", status.epoch ? Json(*status.epoch) : Json()},
            {"metrics", status.metrics},
            {"ranks", status.ranks},
            {"engine", status.engine},
            {"host", status.host},
            {"pid", status.pid},
            {"slurm_job", status.slurm_job},
            {"restarts", status.restarts},
            {"run_seconds", status.run_seconds},
            {"lost_seconds", status.lost_seconds},
            {"useful_share", status.useful_share()},
            {"excluded_hosts", status.excluded_hosts},
            {"exit_code", status.exit_code ? Json(*status.exit_code) : Json()},
            {"failure", status.failure},
            {"transitions", transitions_json(status.transitions)}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

JobStatus status_from_json(const std::string& text, const std::string& where) {
  try {
    const Json json = Json::parse(text);
    JobStatus status;
    status.name = json.at("name");
    status.transitions = transitions_of(json.at("transitions"));
    status.step = json.value("step", std::uint64_t{0});
    status.checkpoint_step = json.value("checkpoint_step", std::uint64_t{0});
    if (json.contains("epoch") && json["epoch"].is_number()) {
      status.epoch = json["epoch"].get<double>();
    }
    const Json metrics = json.value("metrics", Json::object());
    for (const auto& [key, value] : metrics.items()) {
      if (value.is_number()) {
        status.metrics[key] = value.get<double>();
      }
    }
    status.ranks = json.value("ranks", 0);
    status.engine = json.value("engine", "");
    status.host = json.value("host", "");
    status.pid = json.value("pid", std::int64_t{0});
    status.slurm_job = json.value("slurm_job", "");
    status.restarts = json.value("restarts", 0);
    status.run_seconds = json.value("run_seconds", 0.0);
    status.lost_seconds = json.value("lost_seconds", 0.0);
    status.excluded_hosts = json.value("excluded_hosts", std::vector<std::string>{});
    if (json.contains("exit_code") && json["exit_code"].is_number()) {
      status.exit_code = json["exit_code"].get<int>();
    }
    status.failure = json.value("failure", "");
    return status;
  } catch (const Json::exception& error) {
    throw Error(Fault::io,
                where + " does not describe a run (" + error.what() +
                    "): it is made anew when the same command runs again after it is removed");
  }
}

std::optional<LastMetrics> last_metrics(const Path& file) {
  if (!posix_file_system().exists(file)) {
    return std::nullopt;
  }
  const auto lines = split(tail_of(file, 16384), '\n');
  std::optional<LastMetrics> merged;
  for (auto line = lines.rbegin(); line != lines.rend();
       ++line) {  // newest first; older ones only fill gaps
    if (auto one = metrics_of(*line)) {
      if (!merged) {
        merged = std::move(one);
        continue;
      }
      merged->step = merged->step ? merged->step : one->step;
      merged->epoch = merged->epoch ? merged->epoch : one->epoch;
      merged->values.merge(one->values);
    }
  }
  return merged;
}

}  // namespace muster
