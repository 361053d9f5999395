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

namespace muster {
namespace {

const CommandHelp help{
    .usage = "muster resume NAME [--section.key value ...]",
    .about =
        "Runs the stored command of a run again, with more budget if asked: limits, hosts, ranks "
        "and logging may differ from "
        "before, nothing else may.",
    .examples = {{"muster resume digits", "go on where it stopped"},
                 {"muster resume digits --train.epochs 40", "with more epochs"}}};

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

}  // namespace

int command_resume(const Arguments& arguments) {
  Keys training;
  Keys other;
  JobSettings job;
  ProgramSettings program;
  program.job.restarts_per_hour = 0;
  std::string rank_program;
  describe(training, job);
  training.add("rank_program", rank_program, "The rank program").only_on_command_line().hidden();
  describe_program(other, program);
  const auto line = take_command_line(training, arguments, help);
  if (!line) {
    return exit_finished;
  }
  if (line->words.size() != 1) {
    throw Error(Fault::bad_input,
                "it takes the name of one run: muster resume NAME (muster ls lists them)");
  }
  const auto found = find_job(line->words.front(), {});
  if (found.kind == JobKind::sweep) {
    Arguments again{(found.root / "sweep.ini").string(), "--name=" + found.name,
                    "--sweeps=" + found.root.parent_path().string()};
    std::copy_if(arguments.begin(), arguments.end(), std::back_inserter(again),
                 [&](const std::string& word) { return word != line->words.front(); });
    return command_tune(again);
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
