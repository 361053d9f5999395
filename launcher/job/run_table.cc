// SPDX-License-Identifier: Apache-2.0
#include "launcher/job/run_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "launcher/engine/tool.h"
#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

using Json = nlohmann::ordered_json;

std::string human_seconds(double seconds) {
  return human_duration(
      std::chrono::duration_cast<Nanoseconds>(std::chrono::duration<double>(seconds)));
}

Json json_of(const RunRow& row) {
  const auto& status = row.status;
  return {{"name", row.job.name},
          {"kind", row.job.kind == JobKind::sweep ? "sweep" : "run"},
          {"state", row.state},
          {"step", status.step},
          {"epoch", status.epoch ? Json(*status.epoch) : Json()},
          {"metrics", status.metrics},
          {"restarts", status.restarts},
          {"lost_seconds", status.lost_seconds}};
}

/// What is worth a look first: what was validated, then what was trained, then how.
int place_of(const std::string& metric) {
  return metric.starts_with("val_") ? 0 : metric == "lr" || metric == "samples_per_second" ? 2 : 1;
}

/// 0.9889, 147700, 2.5e+09
std::string number_text(double value) {
  const bool long_whole = std::abs(value) >= 10'000 && std::abs(value) < 1e9;
  return long_whole ? fmt::format("{:.0f}", value) : fmt::format("{:.4g}", value);
}

std::string metrics_text(const JobStatus& status, std::size_t most) {
  std::vector<std::pair<int, std::string>> parts;
  for (const auto& [name, value] : status.metrics) {
    if (name != "time") {
      parts.emplace_back(place_of(name), name + " " + number_text(value));
    }
  }
  std::ranges::stable_sort(parts, {}, &std::pair<int, std::string>::first);
  std::vector<std::string> words;
  for (const auto& part : parts) {
    if (words.size() < most) {
      words.push_back(part.second);
    }
  }
  return join(words, ", ");
}

/// "PENDING", "RUNNING", ... as squeue has it; "" when the job is in no queue; nothing where nobody
/// can be asked.
std::optional<std::string> queue_state(const std::string& job) {
  if (job.empty() || find_program("squeue").empty()) {
    return std::nullopt;
  }
  const auto answer = run_tool({"squeue", "-h", "-j", job, "-o", "%T"}, std::chrono::seconds(5));
  const std::string text(trim(answer.output));
  const bool unknown_job = text.find("Invalid job id") != std::string::npos;
  if (!answer.ended.finished() && !unknown_job) {
    return std::nullopt;
  }
  return unknown_job ? "" : text;
}

/// What nobody owns now may wait in Slurm's queue: submitted, or requeued.
std::string state_in_queue(const JobStatus& status) {
  const auto queue = queue_state(status.slurm_job);
  if (queue == "PENDING") {
    return state::pending;
  }
  const bool gone = queue == "" && status.state() == state::pending;
  return gone ? "Lost" : status.state();
}

}  // namespace

RunRow row_of(const FoundJob& job, WallTime now) {
  RunRow row{job, {}, "?"};
  row.status.name = job.name;
  if (const auto text = read_file_if_there(job.root / "status.json")) {
    try {
      row.status = status_from_json(*text, (job.root / "status.json").string());
      row.state = row.status.state();
    } catch (const Error&) {  // a damaged status hides no other run from the list
      row.state = "Unreadable";
      return row;
    }
  }
  const bool should_run = !row.status.ended() && !row.status.exit_code &&
                          row.state != state::pending && !row.status.transitions.empty();
  if (should_run && !is_owned(job.root, now)) {
    row.state = "Lost";
  } else if (!should_run && !row.status.ended()) {
    row.state = state_in_queue(row.status);
  }
  return row;
}

std::string rows_text(const std::vector<RunRow>& rows) {
  if (rows.empty()) {
    return "nothing has run here yet\n";
  }
  std::size_t width = 4;
  for (const auto& row : rows) {
    width = std::max(width, row.job.name.size());
  }
  std::string text = fmt::format("{:<{}}  {:<18}  {:>9}  {:>7}  {:>8}  {:<16}  {}\n", "NAME", width,
                                 "STATE", "STEP", "EPOCH", "RESTARTS", "WHERE", "METRICS");
  for (const auto& row : rows) {
    const auto& status = row.status;
    const std::string where = status.slurm_job.empty() ? status.host : "job " + status.slurm_job;
    text += fmt::format("{:<{}}  {:<18}  {:>9}  {:>7}  {:>8}  {:<16}  {}\n", row.job.name, width,
                        row.job.kind == JobKind::sweep ? "sweep, " + row.state : row.state,
                        status.step, status.epoch ? fmt::format("{:.4g}", *status.epoch) : "-",
                        status.restarts, where, metrics_text(status, 3));
  }
  return text;
}

std::string rows_json(const std::vector<RunRow>& rows) {
  std::string text;
  for (const auto& row : rows) {
    text += json_of(row).dump() + "\n";
  }
  return text;
}

std::string run_json(const RunRow& row, const std::vector<ShownCheckpoint>& checkpoints) {
  Json json = json_of(row);
  json["checkpoints"] = Json::array();
  for (const auto& one : checkpoints) {
    json["checkpoints"].push_back(
        {{"step", one.step}, {"bytes", one.bytes}, {"valid", one.valid}, {"path", one.path}});
  }
  json["run_seconds"] = row.status.run_seconds;
  json["useful_share"] = row.status.useful_share();
  json["ranks"] = row.status.ranks;
  json["engine"] = row.status.engine;
  json["exit_code"] = row.status.exit_code ? Json(*row.status.exit_code) : Json();
  json["failure"] = row.status.failure;
  json["transitions"] = Json::parse(to_json(row.status))["transitions"];
  return json.dump(2) + "\n";
}

std::string run_text(const RunRow& row, const std::vector<ShownCheckpoint>& checkpoints) {
  const auto& status = row.status;
  std::string text = fmt::format("{}: {}\n", row.job.name, row.state);
  if (row.state == "Lost" && status.pid != 0) {
    text += fmt::format("  its muster (pid {} on {}) is gone; the same command continues\n",
                        status.pid, status.host);
  }
  text += fmt::format("  step {}{}, {} rank{} by engine {}{}\n", status.step,
                      status.epoch ? fmt::format(" (epoch {:.4g})", *status.epoch) : "",
                      status.ranks, status.ranks == 1 ? "" : "s", status.engine,
                      status.slurm_job.empty() ? "" : ", Slurm job " + status.slurm_job);
  if (!status.metrics.empty()) {
    text += "  " + metrics_text(status, 12) + "\n";
  }
  text += fmt::format("  {} restart{}; ran {}", status.restarts, status.restarts == 1 ? "" : "s",
                      human_seconds(status.run_seconds));
  text += status.lost_seconds > 0
              ? fmt::format(", of which {} lost to starts and repeated work: {:.1f} % useful\n",
                            human_seconds(status.lost_seconds), 100 * status.useful_share())
              : std::string(", nothing lost so far\n");
  if (!status.excluded_hosts.empty()) {
    text += "  left out after repeated failures: " + join(status.excluded_hosts, ", ") + "\n";
  }
  if (!status.failure.empty()) {
    text += fmt::format("  failure: {} (more in {})\n", status.failure,
                        (row.job.root / "failure").string());
  }
  text += "\nStates\n";
  for (const auto& one : status.transitions) {
    text += fmt::format("  {}  {:<18}  {}\n", one.start, one.status, one.message);
  }
  text += checkpoints.empty() ? "\nNo checkpoints\n" : "\nCheckpoints\n";
  for (const auto& one : checkpoints) {
    text += fmt::format("  step {:>9}  {:>9}  {}{}  {}\n", one.step,
                        human_bytes(static_cast<double>(one.bytes)), one.created,
                        one.age.empty() ? "" : fmt::format(" ({} ago)", one.age),
                        one.valid ? "valid" : "NOT VALID: " + one.problem);
  }
  return text;
}

}  // namespace muster
