// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "launcher/command_sweep.h"
#include "launcher/commands.h"
#include "launcher/engine/tool.h"
#include "launcher/job/find_job.h"
#include "launcher/job/job_plan.h"
#include "launcher/slurm/script.h"
#include "launcher/supervise/run_directory.h"
#include "launcher/supervise/run_status.h"
#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/text.h"
#include "runtime/config/load.h"

namespace muster {
namespace {

const CommandHelp help{
    .usage =
        "muster submit JOB.ini [--section.key value ...] [--print] [--array "
        "A-B] [--dependency WHAT]\nmuster submit SWEEP.ini [--workers A-B] [--print]",
    .about =
        "Writes a batch script for the job and gives it to Slurm. The script is "
        "short and meant to be read: it asks for a signal "
        "before the end, saves, and requeues itself after exit 75, but never "
        "after scancel. Keys of [slurm] become #SBATCH "
        "lines; setup lines run before; srun words go to srun.",
    .examples = {{"muster submit job.ini --ranks 8", "eight tasks"},
                 {"muster submit job.ini --print", "only show the script"},
                 {"muster submit job.ini --array 0-9%2 --dependency afterok:17",
                  "ten runs, JOB-0 to JOB-9, two at a time"}}};

void spread_slurm_section(const JobSettings& job, ScriptSpec& spec) {
  for (const auto& entry : job.slurm.entries) {
    if (entry.key == "setup") {
      spec.setup.push_back(entry.value);
    } else if (entry.key != "srun") {
      spec.directives.emplace_back(entry.key, entry.value);
    }
  }
}

void note_submission(const ScriptSpec& spec, const std::string& id, int ranks) {
  JobStatus status;
  if (const auto before = read_file_if_there(spec.run / "status.json")) {
    status = status_from_json(*before, spec.name);
  }
  status.name = spec.name;
  status.ranks = ranks;
  status.engine = "slurm";
  status.slurm_job = id;
  status.exit_code.reset();
  status.enter(state::pending, "submitted as Slurm job " + id, std::chrono::system_clock::now());
  write_file_atomically(spec.run / "status.json", to_json(status));
}

int submit(const ScriptSpec& spec, int ranks) {
  if (is_owned(spec.run, std::chrono::system_clock::now())) {
    throw Error(
        Fault::bad_input,
        fmt::format(
            "{} is running: stop it first (muster stop {}), or give this one another --name",
            spec.name, spec.name));
  }
  if (find_program("sbatch").empty()) {
    throw Error(Fault::bad_input,
                "there is no sbatch in PATH: this machine cannot submit to Slurm; --print shows "
                "the script for one that can");
  }
  posix_file_system().make_directory(spec.run / "log");
  const Path script = spec.run / "submit.sh";
  write_file_atomically(script, batch_script(spec));
  const auto answer = run_tool({"sbatch", script.string()}, std::chrono::seconds(60));
  if (!answer.ended.finished()) {
    throw Error(Fault::bad_input,
                fmt::format("sbatch refused {}: {}", script.string(), trim(answer.output)));
  }
  const auto id = job_id_of(answer.output);
  if (spec.array.empty()) {
    note_submission(spec, id, ranks);
  }
  fmt::print("submitted {} as Slurm job {}; its script is {}\n", spec.name, id, script.string());
  return exit_finished;
}

}  // namespace

int command_submit(const Arguments& arguments) {
  if (names_a_sweep(arguments)) {
    return submit_sweep(arguments);
  }
  Keys keys;
  JobSettings job;
  describe(keys, job);
  bool print = false;
  ScriptSpec spec;
  std::string rank_program;
  keys.add("print", print, "Show the script, submit nothing").only_on_command_line();
  keys.add("array", spec.array, "Tasks of a job array: 0-63%8")
      .only_on_command_line()
      .placeholder("TASKS");
  keys.add("dependency", spec.dependency, "As sbatch takes it: afterok:17")
      .only_on_command_line()
      .placeholder("WHAT");
  keys.add("rank_program", rank_program, "The rank program").only_on_command_line().hidden();
  const auto line = take_command_line(keys, arguments, help);
  if (!line) {
    return exit_finished;
  }
  if (line->words.size() != 1) {
    throw Error(Fault::bad_input, "it takes one job file: muster submit JOB.ini");
  }
  const auto& file = line->words.front();
  job.name = stem_of(file);
  load(keys, {file, current_environment(), line->options});
  check_run_name(job.name);
  spec.name = job.name;
  spec.run = std::filesystem::absolute(Path(job.runs) / job.name);
  spec.directory = std::filesystem::current_path();
  spec.tasks = settled_ranks(job);
  spec.source = "muster submit " + file;
  spec.command = {std::filesystem::read_symlink("/proc/self/exe").string(), "train", file};
  for (const auto& option : line->options) {
    const auto key = option.substr(0, option.find('='));
    if (key != "--print" && key != "--array" && key != "--dependency") {
      spec.command.push_back(option);
    }
  }
  spread_slurm_section(job, spec);
  if (print) {
    fmt::print("{}", batch_script(spec));
    return exit_finished;
  }
  return submit(spec, spec.tasks);
}

}  // namespace muster
