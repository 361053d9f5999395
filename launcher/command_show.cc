// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <optional>

#include "launcher/command_sweep.h"
#include "launcher/commands.h"
#include "launcher/job/find_job.h"
#include "launcher/job/run_table.h"
#include "launcher/sweep/trial_notes.h"
#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/checkpoint/checkpoint_store.h"
#include "runtime/config/load.h"

namespace muster {
namespace {

const CommandHelp help{
    .usage = "muster show NAME [--json | --csv]\nmuster show SWEEP TRIAL",
    .about =
        "How a run went: its state and every change of it, metrics, restarts, "
        "lost work and the share of time that "
        "was useful, its checkpoints and whether they can be trusted. Of a sweep: its "
        "state, the best trials, why others failed; or one trial of it.",
    .examples = {{"muster show digits", "for people"},
                 {"muster show digits --json", "for programs"},
                 {"muster show digits_sweep 17", "one trial of a sweep"}}};

/// Since an ISO time; empty when it is none.
std::string age_of(const std::string& created, WallTime now) {
  std::tm parts{};
  if (::strptime(created.c_str(), "%Y-%m-%dT%H:%M:%S", &parts) == nullptr) {
    return {};
  }
  const auto age = now - std::chrono::system_clock::from_time_t(::timegm(&parts));
  return human_duration(std::max<Nanoseconds>(std::chrono::seconds(1), age));
}

std::vector<ShownCheckpoint> checkpoints_of(const Path& root) {
  const auto now = std::chrono::system_clock::now();
  std::vector<ShownCheckpoint> shown;
  for (const auto& entry : CheckpointStore(root / "checkpoints").list()) {
    shown.push_back({.step = static_cast<std::uint64_t>(entry.step),
                     .bytes = entry.bytes,
                     .valid = entry.is_valid,
                     .path = entry.path.string(),
                     .created = entry.created,
                     .age = age_of(entry.created, now),
                     .problem = entry.problem});
  }
  return shown;
}

}  // namespace

int show_run(const FoundJob& job, bool json) {
  const auto row = row_of(job, std::chrono::system_clock::now());
  const auto checkpoints = checkpoints_of(job.root);
  fmt::print("{}", json ? run_json(row, checkpoints) : run_text(row, checkpoints));
  return exit_finished;
}

namespace {

/// The sweep whose trial this directory is, where the trial is not a run by itself.
std::optional<FoundJob> sweep_of_trial(const FoundJob& found) {
  const Path root = std::filesystem::absolute(found.root).lexically_normal();
  const Path sweep = root.parent_path().parent_path();
  if (!posix_file_system().exists(sweep / "sweep.ini") || !is_told_by_its_sweep(root)) {
    return std::nullopt;
  }
  return FoundJob{JobKind::sweep, sweep, sweep.filename().string()};
}

}  // namespace

int command_show(const Arguments& arguments) {
  Keys keys;
  bool json = false;
  bool csv = false;
  std::string runs = "runs";
  std::string sweeps = "sweeps";
  keys.add("json", json, "One JSON object").only_on_command_line();
  keys.add("csv", csv, "A sweep's trials as a table").only_on_command_line();
  keys.add("sweeps", sweeps, "Directory of all sweeps").only_on_command_line().placeholder("DIR");
  keys.add("runs", runs, "Directory of all runs").only_on_command_line().placeholder("DIR");
  const auto line = take_command_line(keys, arguments, help);
  if (!line) {
    return exit_finished;
  }
  load(keys, {{}, {}, line->options});
  if (line->words.empty() || line->words.size() > 2) {
    throw Error(Fault::bad_input,
                "it takes the name of a run, or of a sweep and one of its trials: muster show NAME "
                "(muster ls lists them)");
  }
  const auto found = find_job(line->words.front(), {runs, sweeps});
  if (found.kind == JobKind::run && line->words.size() > 1) {
    throw Error(Fault::bad_input, found.name + " is a run: it has no trials to show");
  }
  if (found.kind == JobKind::sweep) {
    return show_sweep(found, line->words.size() > 1 ? line->words[1] : "",
                      csv    ? SweepForm::csv
                      : json ? SweepForm::json
                             : SweepForm::text);
  }
  if (const auto sweep = sweep_of_trial(found)) {
    return show_sweep(*sweep, found.name, SweepForm::text);
  }
  return show_run(found, json);
}

}  // namespace muster
