// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "launcher/commands.h"
#include "launcher/job/find_job.h"
#include "launcher/job/run_table.h"
#include "runtime/base/exit_codes.h"
#include "runtime/config/load.h"

namespace muster {
namespace {

const CommandHelp help{
    .usage = "muster ls [--runs DIR] [--json]",
    .about =
        "Lists what has run and what runs here: state, step, epoch, restarts, where. A run whose "
        "supervisor is gone "
        "without a word shows as Lost: the same command takes it up again.",
    .examples = {{"muster ls", "a table"}, {"muster ls --json", "one object a line"}}};

}  // namespace

int command_ls(const Arguments& arguments) {
  Keys keys;
  bool json = false;
  JobRoots roots;
  std::string runs = roots.runs.string();
  keys.add("runs", runs, "Directory of all runs").only_on_command_line().placeholder("DIR");
  keys.add("json", json, "One JSON object a line").only_on_command_line();
  const auto line = take_command_line(keys, arguments, help);
  if (!line) {
    return exit_finished;
  }
  load(keys, {{}, {}, line->options});
  roots.runs = runs;
  std::vector<RunRow> rows;
  for (const auto& job : all_jobs(roots)) {
    rows.push_back(row_of(job, std::chrono::system_clock::now()));
  }
  fmt::print("{}", json ? rows_json(rows) : rows_text(rows));
  return exit_finished;
}

}  // namespace muster
