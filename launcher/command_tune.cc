// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <csignal>

#include "launcher/commands.h"
#include "launcher/request/request.h"
#include "launcher/sweep/sweep_run.h"
#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/log.h"
#include "runtime/base/stop_signals.h"
#include "runtime/base/text.h"
#include "runtime/comm/launch_context.h"

namespace muster {
namespace {

const CommandHelp help{
    .usage =
        "muster tune SWEEP.ini [--section.key value ...]\nmuster tune REQUEST.json [--aws FILE] "
        "[--strict]",
    .about =
        "Searches the space in [search] for the trial with the best objective: Bayesian "
        "optimisation, Hyperband and ASHA, trials "
        "packed on this machine's cores and cards. Trials are Muster jobs (trial.job) or any "
        "program (trial.command).\n\n"
        "The same command again continues: nothing that was reported is lost, whatever ended the "
        "sweep. Ctrl-C saves and stops; "
        "TERM saves and leaves with 75, to be run again.\n\n"
        "A JSON file is read as the body of a CreateHyperParameterTuningJob call; [aws] in --aws "
        "FILE says what its images, paths "
        "and machine types are here.",
    .examples = {{"muster tune configs/digits_sweep.ini", "a sweep of the bundled data set"},
                 {"muster tune sweep.ini --tune.max_trials 200", "go on with more trials"},
                 {"muster show digits_sweep", "its table, also while it runs"}}};

struct TuneOptions {
  std::string aws;
  bool strict = false;
  bool print_config = false;
};

/// This program, and what lies beside it.
Path this_program() {
  return std::filesystem::read_symlink("/proc/self/exe");
}

Sources sources_of(const CommandLine& line, const TuneOptions& options) {
  if (line.words.size() != 1) {
    throw Error(Fault::bad_input,
                line.words.empty()
                    ? "muster tune needs a sweep file; 'muster tune --help' shows how"
                    : "muster tune takes one sweep file, not '" + line.words[1] + "' as well");
  }
  Sources sources{.file = line.words[0], .environment = current_environment(), .arguments = {}};
  const auto text = read_file_if_there(line.words[0]);
  if (text && is_request(*text)) {
    const auto aws = options.aws.empty() ? AwsMap() : AwsMap::from_file(options.aws);
    const auto request = translate_tuning_request(*text, aws, options.strict);
    for (const auto& note : request.notes) {
      log::info(note);
    }
    sources.file.reset();
    sources.arguments = request.arguments();
  }
  sources.arguments.insert(sources.arguments.end(), line.options.begin(), line.options.end());
  return sources;
}

/// Who gets the signals, once there is somebody.
std::atomic<SweepRun*> the_run{nullptr};

void on_signal(int signal) {
  static std::atomic<int> interrupts{0};
  if (signal == SIGINT && interrupts.fetch_add(1) > 0) {
    ::_exit(exit_stopped);
  }
  SweepRun* run = the_run.load();
  if (run == nullptr || signal == SIGCONT) {
    return;
  }
  signal == SIGINT ? run->stop() : run->suspend();
}

}  // namespace

int command_tune(const Arguments& arguments) {
  SweepSettings settings;
  TuneOptions options;
  Keys keys;
  describe(keys, settings);
  keys.add("aws", options.aws, "For a request: the file whose [aws] section maps its names")
      .only_on_command_line()
      .placeholder("FILE");
  keys.add("strict", options.strict, "For a request: the managed service's own limits hold")
      .only_on_command_line();
  keys.add("print-config", options.print_config,
           "Show the resolved sweep and where each value comes from")
      .only_on_command_line();
  const auto line = take_command_line(keys, arguments, help);
  if (!line) {
    return exit_finished;
  }
  TuneOptions asked;  // --aws decides what is loaded, so it is read first
  Keys first;
  first.add("aws", asked.aws, "").only_on_command_line();
  first.add("strict", asked.strict, "").only_on_command_line();
  Sources early;
  for (const auto& option : line->options) {
    if (option.starts_with("--aws=") || option.starts_with("--strict=")) {
      early.arguments.push_back(option);
    }
  }
  load(first, early);
  const Resolved resolved = load(keys, sources_of(*line, asked));
  if (settings.name.empty()) {
    settings.name = stem_of(line->words[0]);
  }
  if (options.print_config) {
    fmt::print("{}", resolved.explained_text);
    return exit_finished;
  }
  if (settings.trial.command) {
    if (const auto note = missing_modules_note(*settings.trial.command)) {
      log::warning(*note);
    }
  }
  const StopSignals signals(on_signal);
  SweepRun run(settings, keys, resolved,
               {.redraws = ::isatty(STDERR_FILENO) == 1,
                .muster = this_program().string(),
                .rank_program = (this_program().parent_path() / "muster-rank").string(),
                .environment = process_environment()});
  the_run = &run;
  const int code = run.run();
  the_run = nullptr;
  return code;
}

}  // namespace muster
