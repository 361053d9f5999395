// The commands that steer and show a sweep: set, enqueue, report, and the sweep's half of show and
// stop. SPDX-License-Identifier: Apache-2.0
#include "launcher/command_sweep.h"

#include <fmt/format.h>
#include <unistd.h>

#include "hpo/sweep_report.h"
#include "launcher/commands.h"
#include "launcher/engine/owner_lock.h"
#include "launcher/sweep/control_words.h"
#include "launcher/sweep/live_table.h"
#include "launcher/sweep/stored_sweep.h"
#include "launcher/sweep/sweep_run.h"
#include "launcher/sweep/sweep_text.h"
#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/text.h"
#include "runtime/config/load.h"

namespace muster {
namespace {

const CommandHelp set_help{
    .usage = "muster set SWEEP tune.KEY=VALUE ...",
    .about =
        "Changes the limits of a running sweep: max_trials, max_wall, max_slot_hours, target, "
        "patience, "
        "max_failures. A sweep that does not run takes them from 'muster resume SWEEP --tune.KEY "
        "VALUE'.",
    .examples = {{"muster set digits_sweep tune.max_trials=200", "more trials"}}};
const CommandHelp enqueue_help{
    .usage = "muster enqueue SWEEP KEY=VALUE ...",
    .about =
        "Puts a configuration in front of what the searcher proposes; keys that are not given are "
        "drawn.",
    .examples = {{"muster enqueue digits_sweep optimizer.lr=0.05", "try this next"}}};
const CommandHelp report_help{
    .usage = "muster report SWEEP",
    .about =
        "Writes sweeps/NAME/report.html, one file that needs no network: history, learning curves, "
        "parallel "
        "coordinates, importance, rungs, slots, a table. Works while the sweep runs.",
    .examples = {{"muster report digits_sweep", "and prints where it is"}}};

/// The command line of a command that takes a sweep and words; nothing when it asked for help.
struct SweepLine {
  FoundJob sweep;
  std::vector<std::string> words;
};
std::optional<SweepLine> sweep_line(const Arguments& arguments, const CommandHelp& help) {
  Keys keys;
  std::string sweeps = "sweeps";
  keys.add("sweeps", sweeps, "Directory of all sweeps").only_on_command_line().placeholder("DIR");
  const auto line = take_command_line(keys, arguments, help);
  if (!line) {
    return std::nullopt;
  }
  load(keys, {{}, {}, line->options});
  if (line->words.empty()) {
    throw Error(Fault::bad_input,
                "it takes the name of a sweep: " + help.usage + " (muster ls lists them)");
  }
  const auto found = find_job(line->words.front(), {.runs = {}, .sweeps = sweeps});
  if (found.kind != JobKind::sweep) {
    throw Error(Fault::bad_input, found.name + " is a run, not a sweep");
  }
  return SweepLine{.sweep = found, .words = {line->words.begin() + 1, line->words.end()}};
}

int steer(const SweepLine& line, const std::string& request, std::string_view remedy) {
  if (!is_owned(line.sweep.root, std::chrono::system_clock::now())) {
    throw Error(Fault::bad_input, fmt::format("{} does not run now: {}", line.sweep.name, remedy));
  }
  fmt::print("{}\n", control_words(line.sweep.name, ask_running_sweep(line.sweep.root, request)));
  return exit_finished;
}

}  // namespace

int show_sweep(const FoundJob& found, const std::string& trial, SweepForm form) {
  const auto sweep = read_sweep(found.root);
  if (!trial.empty()) {
    fmt::print("{}", trial_text(*sweep, trial));
  } else if (form == SweepForm::text) {
    fmt::print("{}", sweep_text(*sweep, is_owned(found.root, std::chrono::system_clock::now()),
                                look_at(STDOUT_FILENO)));
  } else if (form == SweepForm::json) {
    fmt::print("{}\n", trim(hpo::sweep_json(
                           *sweep->state, is_owned(found.root, std::chrono::system_clock::now()))));
  } else {
    fmt::print("{}", hpo::sweep_csv(*sweep->state));
  }
  return exit_finished;
}

Path log_of_sweep(const FoundJob& found, const std::string& trial) {
  if (trial.empty()) {
    return found.root / "workers.log";
  }
  const auto sweep = read_sweep(found.root);
  const Path log = directory_of(*sweep, trial) / "log";
  for (const char* name : {"rank-0.log", "muster.log"}) {
    if (posix_file_system().exists(log / name)) {
      return log / name;
    }
  }
  throw Error(Fault::bad_input,
              fmt::format("trial {} has no log of its own: trials that share a worker write into "
                          "its log, muster logs {}",
                          trial, found.name));
}

int stop_sweep(const FoundJob& found, const std::string& trial) {
  if (!is_owned(found.root, std::chrono::system_clock::now())) {
    fmt::print("{} does not run now\n", found.name);
    return exit_finished;
  }
  const auto number = parse_int(trial);
  if (!trial.empty() && (!number || *number < 1)) {
    throw Error(Fault::bad_input,
                fmt::format("'{}' is no trial: muster stop SWEEP [TRIAL], with its number", trial));
  }
  const auto request = trial.empty() ? std::string(R"({"op":"stop"})")
                                     : fmt::format(R"({{"op":"stop","trial":{}}})", *number);
  fmt::print("{}\n", control_words(found.name, ask_running_sweep(found.root, request)));
  return exit_finished;
}

int command_set(const Arguments& arguments) {
  const auto line = sweep_line(arguments, set_help);
  return !line
             ? exit_finished
             : steer(*line, set_request(line->words),
                     "muster resume " + line->sweep.name + " --tune.KEY VALUE changes its limits");
}

int command_enqueue(const Arguments& arguments) {
  const auto line = sweep_line(arguments, enqueue_help);
  return !line ? exit_finished
               : steer(*line, enqueue_request(line->words),
                       "start it with muster tune or muster resume first");
}

int command_report(const Arguments& arguments) {
  const auto line = sweep_line(arguments, report_help);
  if (!line) {
    return exit_finished;
  }
  const auto sweep = read_sweep(line->sweep.root);
  write_sweep_results(sweep->settings, *sweep->state, sweep->state->seconds());
  fmt::print("{}\n", (line->sweep.root / "report.html").string());
  return exit_finished;
}

}  // namespace muster
