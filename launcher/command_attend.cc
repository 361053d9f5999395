// SPDX-License-Identifier: Apache-2.0
#include "launcher/attend/attendant.h"
#include "launcher/commands.h"
#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/config/load.h"

namespace muster {
namespace {

const CommandHelp help{
    .usage = "muster attend --logs DIR [--foreign] [--on_cpu] [--threads N] -- COMMAND [words]",
    .about =
        "What muster lets mpirun and srun start for each rank: it keeps the rank's log, notes how "
        "it ended, and "
        "leaves no process behind. Not for use by hand."};

}  // namespace

int command_attend(const Arguments& arguments) {
  Keys keys;
  AttendantOptions options;
  std::string logs;
  std::optional<double> hang_after;
  keys.add("logs", logs, "Where the rank's log lies").only_on_command_line();
  keys.add("start", options.start, "The start it belongs to").only_on_command_line();
  keys.add("foreign", options.foreign, "Any program: told to stop by TERM").only_on_command_line();
  keys.add("on_cpu", options.on_cpu, "The rank uses no card").only_on_command_line();
  keys.add("threads", options.threads, "Threads of the rank; 0 divides the cores")
      .only_on_command_line();
  keys.add_seconds("hang_after", hang_after, "No progress for so long is a hang")
      .only_on_command_line();
  const auto line = take_command_line(keys, arguments, help);
  if (!line) {
    return exit_finished;
  }
  load(keys, {{}, {}, line->options});
  if (logs.empty() || line->rest.empty()) {
    throw Error(Fault::bad_input, "it needs --logs DIR and a command behind --");
  }
  options.logs = logs;
  options.command = line->rest;
  options.hang_after =
      std::chrono::milliseconds(static_cast<std::int64_t>(hang_after.value_or(30) * 1000));
  return attend(options);
}

}  // namespace muster
