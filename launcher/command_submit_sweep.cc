// `muster submit` of a sweep: the coordinator's script, or an array of workers that join it.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "launcher/command_sweep.h"
#include "launcher/commands.h"
#include "launcher/slurm/submission.h"
#include "launcher/sweep/trial_plans.h"
#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/text.h"
#include "runtime/config/load.h"

namespace muster {
namespace {

const CommandHelp help{
    .usage =
        "muster submit SWEEP.ini [--section.key value ...] [--print]\nmuster submit SWEEP.ini "
        "--workers A-B [--print]",
    .about =
        "Writes a batch script for the sweep and gives it to Slurm. Its coordinator starts a "
        "worker for each task (ranks of them) by srun; after exit 75 it is requeued and goes "
        "on.\n\n"
        "With --workers the tasks of an array join a sweep that somebody coordinates, 'muster "
        "tune' or an earlier submit, through the sweep's directory: they may be preempted, come "
        "late and leave early; what they trained is saved and goes on elsewhere.",
    .examples = {{"muster submit sweep.ini --ranks 4", "a coordinator and four workers"},
                 {"muster submit sweep.ini --workers 0-63", "sixty-four more, preemptible"}}};

struct SubmitOptions {
  bool print = false;
  std::string workers;
  int slots = 0;
};

Path beside(const char* program) {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path() / program;
}

ScriptSpec script_of(const SweepSettings& settings, const CommandLine& line,
                     const SubmitOptions& options) {
  ScriptSpec spec;
  spec.name = settings.name;
  spec.run = sweep_directory(settings);
  spec.directory = std::filesystem::current_path();
  spec.source = "muster submit " + line.words.front();
  add_slurm_section(settings.slurm, spec);
  if (!options.workers.empty()) {
    spec.array = options.workers;
    spec.source += " --workers " + options.workers;
    spec.command = needs_processes(settings)
                       ? std::vector{beside("muster").string(), std::string("worker")}
                       : std::vector{beside("muster-rank").string(), std::string("--worker"),
                                     std::string("--spool")};
    spec.command.push_back(spec.run.string());
    if (options.slots > 0) {
      spec.command.push_back(fmt::format("--slots={}", options.slots));
    }
    return spec;
  }
  spec.tasks = std::max(1, settings.ranks);
  spec.command = {beside("muster").string(), "tune", line.words.front()};
  for (const auto& option : line.options) {
    if (!option.starts_with("--print") && !option.starts_with("--slots")) {
      spec.command.push_back(option);
    }
  }
  return spec;
}

int hand_over(const ScriptSpec& spec) {
  const Path script = spec.run / (spec.array.empty() ? "submit.sh" : "workers.sh");
  const auto id = hand_to_slurm(spec, script);
  fmt::print("submitted {} as Slurm job {}; its script is {}\n",
             spec.array.empty() ? spec.name : "workers of " + spec.name, id, script.string());
  return exit_finished;
}

}  // namespace

bool names_a_sweep(const Arguments& arguments) {
  for (const auto& word : arguments) {
    const auto text = word.ends_with(".ini") ? read_file_if_there(word) : std::nullopt;
    for (const auto& line : split(text.value_or(""), '\n')) {
      if (trim(line) == "[tune]") {
        return true;
      }
    }
  }
  return false;
}

int submit_sweep(const Arguments& arguments) {
  SweepSettings settings;
  SubmitOptions options;
  Keys keys;
  describe(keys, settings);
  keys.add("print", options.print, "Show the script, submit nothing").only_on_command_line();
  keys.add("workers", options.workers, "Tasks of an array that join the sweep: 0-63%8")
      .only_on_command_line()
      .placeholder("TASKS");
  keys.add("slots", options.slots, "Trials at once in one such task; 0 is one a core")
      .at_least(0)
      .only_on_command_line();
  const auto line = take_command_line(keys, arguments, help);
  if (!line) {
    return exit_finished;
  }
  if (line->words.size() != 1) {
    throw Error(Fault::bad_input, "it takes one sweep file: muster submit SWEEP.ini");
  }
  load(keys, {line->words.front(), current_environment(), line->options});
  if (settings.name.empty()) {
    settings.name = stem_of(line->words.front());
  }
  const auto spec = script_of(settings, *line, options);
  if (options.print) {
    fmt::print("{}", batch_script(spec));
    return exit_finished;
  }
  return hand_over(spec);
}

}  // namespace muster
