// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "launcher/command_sweep.h"
#include "launcher/commands.h"
#include "launcher/job/find_job.h"
#include "launcher/job/job_plan.h"
#include "launcher/slurm/submission.h"
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

/// What a submission makes: one run, or one a task of an array.
struct Submitted {
  std::string name;
  std::string id;  ///< as squeue and scancel take it: "17", "17_3"
};
std::vector<Submitted> submitted_runs(const ScriptSpec& spec, const std::string& id) {
  if (spec.array.empty()) {
    return {{spec.name, id}};
  }
  std::vector<Submitted> runs;
  for (const int task : array_tasks(spec.array)) {
    runs.push_back({fmt::format("{}-{}", spec.name, task), fmt::format("{}_{}", id, task)});
  }
  return runs;
}

/// So that ls, stop and logs know it while it waits.
void note_submission(const Path& run, const Submitted& submitted, int ranks) {
  JobStatus status;
  if (const auto before = read_file_if_there(run / "status.json")) {
    status = status_from_json(*before, submitted.name);
  }
  status.name = submitted.name;
  status.ranks = ranks;
  status.engine = "slurm";
  status.slurm_job = submitted.id;
  status.exit_code.reset();
  status.enter(state::pending, "submitted as Slurm job " + submitted.id,
               std::chrono::system_clock::now());
  posix_file_system().make_directory(run / "log");
  write_file_atomically(run / "status.json", to_json(status));
}

int submit(const ScriptSpec& spec, int ranks) {
  const Path runs = spec.run.parent_path();
  for (const auto& run : submitted_runs(spec, "")) {
    if (is_owned(runs / run.name, std::chrono::system_clock::now())) {
      throw Error(
          Fault::bad_input,
          fmt::format(
              "{} is running: stop it first (muster stop {}), or give this one another --name",
              run.name, run.name));
    }
  }
  const Path script = spec.run / "submit.sh";
  const auto id = hand_to_slurm(spec, script);
  const auto made = submitted_runs(spec, id);
  for (const auto& run : made) {
    note_submission(runs / run.name, run, ranks);
  }
  const std::string which =
      spec.array.empty() ? "" : fmt::format(" ({} to {})", made.front().name, made.back().name);
  fmt::print("submitted {}{} as Slurm job {}; its script is {}\n", spec.name, which, id,
             script.string());
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
  add_slurm_section(job.slurm, spec);
  if (print) {
    fmt::print("{}", batch_script(spec));
    return exit_finished;
  }
  return submit(spec, spec.tasks);
}

}  // namespace muster
