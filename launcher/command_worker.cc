// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <csignal>

#include "launcher/commands.h"
#include "launcher/sweep/spool_service.h"
#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/file_system.h"
#include "runtime/base/stop_signals.h"
#include "runtime/config/load.h"

namespace muster {
namespace {

const CommandHelp help{
    .usage = "muster worker SWEEP [--slots N]",
    .about =
        "Joins a running sweep whose trials are programs, from anywhere that sees its directory, "
        "and leaves when it is over; TERM has what runs saved first. SWEEP is its directory, or "
        "the name of one in sweeps. 'muster submit SWEEP.ini "
        "--workers 0-63' starts many. Workers for Muster jobs are 'muster-rank --worker --spool "
        "sweeps/NAME'.",
    .examples = {{"muster worker sweeps/tune_bert --slots 2", "two trials at once, here"}}};

std::atomic<bool> wants_out{false};

}  // namespace

int command_worker(const Arguments& arguments) {
  Keys keys;
  SpoolService service;
  keys.add("name", service.name, "What it is known by").only_on_command_line();
  keys.add("slots", service.slots, "Trials at once; 0: as its cores and cards admit")
      .at_least(0)
      .only_on_command_line();
  const auto line = take_command_line(keys, arguments, help);
  if (!line) {
    return exit_finished;
  }
  load(keys, {{}, {}, line->options});
  if (line->words.size() != 1) {
    throw Error(Fault::bad_input, "it takes one sweep, its directory or its name: " + help.usage);
  }
  const Path named = line->words.front();
  const Path by_name = "sweeps" / named;
  FileSystem& files = posix_file_system();
  service.sweep =
      std::filesystem::absolute(!files.exists(named) && files.exists(by_name) ? by_name : named);
  service.wants_out = [] { return wants_out.load(); };
  const auto muster = std::filesystem::read_symlink("/proc/self/exe").string();
  service.crew = [&](const SpoolSession& session) {
    if (!is_for_programs(session)) {
      throw Error(Fault::bad_input,
                  "this sweep tunes a Muster job: its workers are 'muster-rank --worker --spool " +
                      service.sweep.string() + "'");
    }
    return program_crew(service, session, muster);
  };
  const StopSignals signals([](int signal) { wants_out = wants_out || signal != SIGCONT; });
  return serve_spool(service);
}

}  // namespace muster
