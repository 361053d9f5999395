// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "launcher/commands.h"
#include "launcher/job/find_job.h"
#include "launcher/job/job_plan.h"
#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/text.h"
#include "runtime/config/load.h"
#include "runtime/config/sweep.h"

namespace muster {
namespace {

const CommandHelp help{
    .usage = "muster resume NAME [--section.key value ...]",
    .about =
        "Runs the stored command of a run again, with more budget if asked: limits, hosts, ranks, "
        "train.device and logging may differ from "
        "before, nothing else may. A sweep takes more budget so: --tune.max_trials 200.",
    .examples = {
        {"muster resume digits", "go on where it stopped"},
        {"muster resume digits --train.epochs 40", "with more epochs"},
        {"muster resume digits_sweep --tune.max_trials 200", "a sweep, with more trials"}}};

/// The options with --runs put where the run was found, whatever it was called there.
Arguments with_place(Arguments options, const FoundJob& found) {
  options.push_back("--runs=" + found.root.parent_path().string());
  options.push_back("--name=" + found.name);
  return options;
}

bool is_program(const std::string& config) {
  for (const auto& line : split(config, '\n')) {
    if (trim(line).starts_with("[")) {
      return false;
    }
    if (trim(line).starts_with("command")) {
      return true;
    }
  }
  return false;
}

/// Where the command line says that runs and sweeps are.
JobRoots roots_of(const CommandLine& line) {
  JobRoots roots;
  for (const auto& option : line.options) {
    if (option.starts_with("--runs=")) {
      roots.runs = option.substr(7);
    } else if (option.starts_with("--sweeps=")) {
      roots.sweeps = option.substr(9);
    }
  }
  return roots;
}

/// A sweep has keys of its own: `--tune.max_trials 200` is an option and its value.
int resume_sweep(const FoundJob& found, const Arguments& arguments) {
  SweepSettings settings;
  Keys keys;
  describe(keys, settings);
  const auto line = split_command_line(keys, arguments);
  if (line.words.size() != 1) {
    throw Error(Fault::bad_input,
                "it takes the name of one sweep: muster resume NAME (muster ls lists them)");
  }
  Arguments again{(found.root / "sweep.ini").string(), "--name=" + found.name};
  std::ranges::remove_copy_if(line.options, std::back_inserter(again),
                              [](const auto& option) { return option.starts_with("--sweeps="); });
  again.push_back("--sweeps=" + found.root.parent_path().string());
  return command_tune(again);
}

}  // namespace

int command_resume(const Arguments& arguments) {
  Keys training;
  Keys other;
  JobSettings job;
  ProgramSettings program;
  program.job.restarts_per_hour = 0;
  std::string rank_program;
  std::string sweeps = "sweeps";
  describe(training, job);
  training.add("sweeps", sweeps, "Directory of all sweeps")
      .only_on_command_line()
      .placeholder("DIR");
  training.add("rank_program", rank_program, "The rank program").only_on_command_line().hidden();
  describe_program(other, program);
  const auto line = take_command_line(training, arguments, help);
  if (!line) {
    return exit_finished;
  }
  const Error misused(Fault::bad_input,
                      "it takes the name of one run: muster resume NAME (muster ls lists them)");
  if (line->words.empty()) {
    throw misused;
  }
  const auto found = find_job(line->words.front(), roots_of(*line));
  if (found.kind == JobKind::sweep) {
    return resume_sweep(found, arguments);
  }
  if (line->words.size() != 1) {
    throw misused;
  }
  const auto config = (found.root / "config.ini").string();
  if (is_program(read_file(config))) {
    const auto again = split_command_line(other, arguments);
    return run_program(other, program, load(other, {config, {}, with_place(again.options, found)}));
  }
  return train(training, job, load(training, {config, {}, with_place(line->options, found)}),
               rank_program);
}

}  // namespace muster
