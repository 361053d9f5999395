// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "launcher/commands.h"
#include "launcher/job/job_plan.h"
#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/config/load.h"

namespace muster {
namespace {

const CommandHelp help{
    .usage = "muster train JOB.ini [--section.key value ...]",
    .about =
        "Trains the job: on this machine, in the Slurm allocation it finds itself in, or over "
        "--hosts. Its directory is "
        "RUNS/NAME: settings, metrics, logs, checkpoints, the trained model.\n\n"
        "Running the same command again continues from the newest valid checkpoint; a finished run "
        "says so. TERM, HUP, USR1 "
        "and notices of clouds and of Slurm save and exit 75; Ctrl-C, muster stop and a spent "
        "max_runtime save and exit 77; a "
        "second Ctrl-C leaves at once.",
    .examples = {{"muster train configs/digits_mlp.ini --ranks 2", "two ranks on this machine"},
                 {"muster train job.ini --hosts a:4,b:4", "eight ranks by mpirun"},
                 {"muster train job.ini --optimizer.lr 0.01 --name slow",
                  "another setting is another run"}}};

}  // namespace

int command_train(const Arguments& arguments) {
  Keys keys;
  JobSettings job;
  describe(keys, job);
  std::string rank_program;
  bool print_config = false;
  keys.add("rank_program", rank_program, "The rank program, if not the muster-rank beside this one")
      .only_on_command_line()
      .hidden();
  keys.add("print_config", print_config, "Show the resolved settings and where each comes from")
      .only_on_command_line();
  const auto line = take_command_line(keys, arguments, help);
  if (!line) {
    return exit_finished;
  }
  if (line->words.size() != 1 || line->has_rest) {
    throw Error(Fault::bad_input,
                "it takes one job file: muster train JOB.ini [--section.key value ...]");
  }
  const auto& file = line->words.front();
  job.name = stem_of(file);
  const auto resolved = load(keys, {file, current_environment(), line->options});
  if (print_config) {
    fmt::print("{}", resolved.explained_text);
    return exit_finished;
  }
  return train(keys, job, resolved, rank_program);
}

}  // namespace muster
