// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "hpo/sweep_report.h"
#include "launcher/commands.h"
#include "launcher/engine/owner_lock.h"
#include "launcher/job/find_job.h"
#include "launcher/job/run_table.h"
#include "launcher/sweep/stored_sweep.h"
#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/config/load.h"

namespace muster {
namespace {

const CommandHelp help{
    .usage = "muster ls [--runs DIR] [--json]",
    .about =
        "Lists what has run and what runs here: state, step, epoch, restarts, where; of a sweep "
        "its "
        "trials and the best value. A run whose "
        "supervisor is gone "
        "without a word shows as Lost: the same command takes it up again.",
    .examples = {{"muster ls", "a table"}, {"muster ls --json", "one object a line"}}};

/// A sweep in a run's row: its trials as steps, its best value as the metric.
void describe_sweep(RunRow& row) {
  try {
    const auto sweep = read_sweep(row.job.root);
    const auto& state = *sweep->state;
    row.state = hpo::state_name(state, is_owned(row.job.root, std::chrono::system_clock::now()));
    row.status.step = state.trials().size();
    if (const auto* best = state.best()) {
      row.status.metrics[state.setup().metric] = *best->value;
    }
  } catch (const Error&) {  // a damaged journal hides no other run from the list
    row.state = "unreadable";
  }
}

}  // namespace

int command_ls(const Arguments& arguments) {
  Keys keys;
  bool json = false;
  JobRoots roots;
  std::string runs = roots.runs.string();
  std::string sweeps = roots.sweeps.string();
  keys.add("sweeps", sweeps, "Directory of all sweeps").only_on_command_line().placeholder("DIR");
  keys.add("runs", runs, "Directory of all runs").only_on_command_line().placeholder("DIR");
  keys.add("json", json, "One JSON object a line").only_on_command_line();
  const auto line = take_command_line(keys, arguments, help);
  if (!line) {
    return exit_finished;
  }
  load(keys, {{}, {}, line->options});
  roots.runs = runs;
  roots.sweeps = sweeps;
  std::vector<RunRow> rows;
  for (const auto& job : all_jobs(roots)) {
    rows.push_back(row_of(job, std::chrono::system_clock::now()));
    if (job.kind == JobKind::sweep) {
      describe_sweep(rows.back());
    }
  }
  fmt::print("{}", json ? rows_json(rows) : rows_text(rows));
  return exit_finished;
}

}  // namespace muster
