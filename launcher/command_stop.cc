// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <thread>

#include "launcher/command_sweep.h"
#include "launcher/commands.h"
#include "launcher/engine/tool.h"
#include "launcher/job/find_job.h"
#include "launcher/supervise/run_status.h"
#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/config/load.h"

namespace muster {
namespace {

const CommandHelp help{
    .usage = "muster stop NAME [--wait]\nmuster stop SWEEP TRIAL",
    .about =
        "Asks a run to save and end with exit code 77, wherever it runs: its supervisor sees the "
        "request within a "
        "second. A run that still waits in Slurm's queue is cancelled.",
    .examples = {{"muster stop digits --wait", "and come back when it has ended"},
                 {"muster stop digits_sweep 17", "one trial of a sweep"}}};

void wait_until_ended(const FoundJob& found) {
  while (is_owned(found.root, std::chrono::system_clock::now())) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

int stop_waiting_job(const FoundJob& found, const JobStatus& status) {
  const auto answer = run_tool({"scancel", status.slurm_job}, std::chrono::seconds(20));
  if (!answer.ended.finished()) {
    throw Error(Fault::io, fmt::format("scancel {} {}: {}", status.slurm_job, answer.ended.text(),
                                       answer.output));
  }
  auto stopped = status;
  stopped.enter(state::stopped, "cancelled while it waited", std::chrono::system_clock::now());
  write_file_atomically(found.root / "status.json", to_json(stopped));
  fmt::print("{} waited in Slurm's queue as job {}: cancelled\n", found.name, status.slurm_job);
  return exit_finished;
}

}  // namespace

int stop_run(const FoundJob& found, bool wait) {
  const auto text = read_file_if_there(found.root / "status.json");
  const auto status = text ? status_from_json(*text, found.name) : JobStatus{};
  if (is_owned(found.root, std::chrono::system_clock::now())) {
    posix_file_system().make_directory(found.root / "control");
    write_file_atomically(found.root / "control" / "stop", "");
    fmt::print("asked {} to save and stop\n", found.name);
    if (wait) {
      wait_until_ended(found);
    }
    return exit_finished;
  }
  if (status.state() == state::pending) {
    return stop_waiting_job(found, status);
  }
  fmt::print("{} is not running ({})\n", found.name,
             status.transitions.empty() ? "never started" : status.state());
  return exit_finished;
}

int command_stop(const Arguments& arguments) {
  Keys keys;
  bool wait = false;
  std::string runs = "runs";
  keys.add("wait", wait, "Return when it has ended").only_on_command_line();
  std::string sweeps = "sweeps";
  keys.add("sweeps", sweeps, "Directory of all sweeps").only_on_command_line().placeholder("DIR");
  keys.add("runs", runs, "Directory of all runs").only_on_command_line().placeholder("DIR");
  const auto line = take_command_line(keys, arguments, help);
  if (!line) {
    return exit_finished;
  }
  load(keys, {{}, {}, line->options});
  if (line->words.empty() || line->words.size() > 2) {
    throw Error(Fault::bad_input,
                "it takes the name of one run, or of a sweep and one of its trials: muster stop "
                "NAME (muster ls lists them)");
  }
  const auto found = find_job(line->words.front(), {runs, sweeps});
  if (found.kind == JobKind::sweep) {
    const bool is_whole = line->words.size() == 1;
    const int code = stop_sweep(found, is_whole ? "" : line->words[1]);
    if (wait && is_whole) {
      wait_until_ended(found);
    }
    return code;
  }
  if (line->words.size() == 2) {
    throw Error(Fault::bad_input, found.name + " is a run: it has no trials to stop");
  }
  return stop_run(found, wait);
}

}  // namespace muster
