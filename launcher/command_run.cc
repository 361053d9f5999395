// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "launcher/commands.h"
#include "launcher/job/job_plan.h"
#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/text.h"
#include "runtime/config/load.h"

namespace muster {
namespace {

const CommandHelp help{
    .usage = "muster run [--ranks N] [--key value ...] -- COMMAND [words]",
    .about =
        "Runs any program as N ranks, with the environment that programs written for torchrun "
        "(RANK, WORLD_SIZE, LOCAL_RANK, "
        "MASTER_ADDR, MASTER_PORT) and for the managed service (SM_*) read; each sees all GPUs of "
        "its machine. It keeps their logs, "
        "ends all when one fails, and "
        "leaves no process behind.\n\n"
        "A program finds MUSTER_CHECKPOINT_DIR, which is there again when the same command runs "
        "again, and may append JSON "
        "lines such as {\"step\":3,\"loss\":0.5} to the file that MUSTER_METRICS names. To stop, "
        "it gets TERM, the grace, then "
        "KILL; exit 75 says that it has saved.",
    .examples = {
        {"muster run --ranks 2 -- python3 train.py --epochs 3", "a torch.distributed program"},
        {"muster run --name sweep7 --max_runtime 2h -- ./simulate", "with a limit"}}};

std::string quoted(const std::vector<std::string>& command) {
  std::vector<std::string> words;
  for (const auto& word : command) {
    words.push_back(shell_quoted(word));
  }
  return join(words, " ");
}

}  // namespace

int command_run(const Arguments& arguments) {
  Keys keys;
  ProgramSettings program;
  program.job.restarts_per_hour = 0;
  describe_program(keys, program);
  const auto line = take_command_line(keys, arguments, help);
  if (!line) {
    return exit_finished;
  }
  if (!line->words.empty() || line->rest.empty()) {
    throw Error(Fault::bad_input,
                "the program comes behind two dashes: muster run --ranks 2 -- python3 train.py");
  }
  program.command = quoted(line->rest);
  program.job.name = program_name(line->rest);
  auto options = line->options;
  options.push_back("--command=" + program.command);
  const auto resolved = load(keys, {{}, current_environment(), options});
  return run_program(keys, program, resolved);
}

}  // namespace muster
