// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hpo/coordinator.h"
#include "hpo/sweep_report.h"
#include "hpo/warm_start.h"
#include "launcher/commands.h"
#include "launcher/engine/resources.h"
#include "launcher/report/report_page.h"
#include "launcher/sweep/process_runner.h"
#include "launcher/sweep/sweep_lock.h"
#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/log.h"
#include "runtime/base/stop_signals.h"
#include "runtime/base/text.h"
#include "runtime/config/load.h"
#include "runtime/config/sweep.h"

namespace muster {
namespace {

const CommandHelp help{
    .usage = "muster tune SWEEP.ini [--section.key value ...]",
    .about =
        "Runs a sweep: trials of any program ([trial] command), searched and scheduled as [tune] "
        "says over the space of [search]. Everything lies in sweeps/NAME; the same command goes on "
        "where it was, also after a kill -9.\n\n"
        "Exits 0 when the sweep is over, 75 when TERM saved it (run it again), 77 when it was "
        "stopped by hand.",
    .examples = {{"muster tune sweep.ini", "until its limits are reached"},
                 {"muster tune sweep.ini --tune.max_trials 200", "with more budget"}}};

ProgramTrialPlan plan_of(const SweepSettings& sweep, const hpo::StudySetup& setup,
                         const Path& directory) {
  if (!sweep.trial.command) {
    throw Error(Fault::bad_input,
                "trial.job: trials of Muster jobs need workers, which this build does not start; "
                "write the job as a program: [trial] command = ...");
  }
  ProgramTrialPlan plan;
  plan.sweep = sweep.name;
  plan.trials = std::filesystem::absolute(directory / "trials");
  plan.command = shell_words(*sweep.trial.command);
  plan.directory = std::filesystem::absolute(sweep.trial.directory);
  plan.style = argument_style(sweep.trial.arguments);
  for (const Keys::Entry& metric : sweep.trial.metrics) {
    plan.metrics.emplace_back(metric.key, metric.value);
  }
  for (const Keys::Entry& channel : sweep.trial.channels) {
    plan.channels.push_back({channel.key, std::filesystem::absolute(channel.value), ""});
  }
  plan.objective = setup.metric;
  plan.resource_argument = sweep.tune.resource.value_or("");
  plan.ranks = sweep.trial.ranks;
  plan.memory = sweep.trial.memory;
  plan.timeout = sweep.trial.timeout;
  plan.grace = sweep.trial.grace;
  return plan;
}

/// Slots are ranks: a trial of k ranks takes k of them.
std::size_t slots_of(const SweepSettings& sweep, const Machine& machine) {
  const int wanted = sweep.ranks > 0 ? sweep.ranks : sweep.tune.parallel;
  const int cores =
      static_cast<int>(machine.cpus.size()) / std::max(1, sweep.trial.cpus.value_or(1));
  const int trials = wanted > 0 ? wanted : std::max(1, cores / sweep.trial.ranks);
  return static_cast<std::size_t>(trials * sweep.trial.ranks);
}

/// Results of tables, once: when the sweep begins.
void warm_start(hpo::Study& study, const std::vector<std::string>& sources) {
  if (!study.state().trials().empty()) {
    return;
  }
  for (const std::string& source : sources) {
    if (!source.ends_with(".csv")) {
      throw Error(Fault::bad_input,
                  "tune.warm_start = " + source +
                      ": give a table, such as that of 'muster show SWEEP --csv > FILE.csv'");
    }
    const hpo::EarlierResults earlier =
        hpo::results_in_csv(read_file(source), source, study.setup());
    log::info(fmt::format("{}: {} results taken, {} do not fit this space", source,
                          hpo::add_all(study, earlier), earlier.unusable));
  }
}

void write_report(const hpo::Study& study, const SweepSettings& sweep, const Path& directory) {
  hpo::SweepReportExtras extras;
  extras.resource = sweep.tune.resource.value_or("");
  const std::string data = hpo::sweep_report(study.state(), study.now(), extras);
  write_file_atomically(directory / "report.html", report_page(sweep.name, data));
  write_file_atomically(directory / "trials.csv", hpo::sweep_csv(study.state()));
}

void tell_outcome(const hpo::Study& study, const Path& directory) {
  const hpo::SweepState& state = study.state();
  fmt::print("{}: {} trials, {}\n", study.setup().name, state.trials().size(),
             state.over() ? "over: " + *state.over() : "not over: the same command goes on");
  if (const hpo::Trial* best = state.best()) {
    fmt::print("best: trial {}, {} = {}\n", best->id, study.setup().metric, exact(*best->value));
    for (const auto& [key, word] : study.setup().space.params(best->config)) {
      fmt::print("  {} = {}\n", key, word);
    }
  }
  fmt::print("report: {}\n", (directory / "report.html").string());
}

int exit_code_of(hpo::Coordinator::Outcome outcome) {
  switch (outcome) {
    case hpo::Coordinator::Outcome::finished:
      return exit_finished;
    case hpo::Coordinator::Outcome::suspended:
      return exit_saved;
    case hpo::Coordinator::Outcome::stopped:
      return exit_stopped;
  }
  return exit_failed;
}

/// What the signal thread may reach: nothing before the coordinator is there.
struct Steering {
  std::atomic<hpo::Coordinator*> coordinator{nullptr};
  std::atomic<int> early{0};
  void take(int signal) {
    if (signal != SIGTERM && signal != SIGINT) {
      return;
    }
    hpo::Coordinator* there = coordinator;
    if (there == nullptr) {
      early = signal;
    } else if (signal == SIGTERM) {
      there->suspend();
    } else {
      there->stop();
    }
  }
};

int run_sweep(const SweepSettings& sweep, const std::string& file_text, Steering& steering) {
  const Path directory = Path(sweep.sweeps) / sweep.name;
  const hpo::StudySetup setup =
      hpo::study_setup(sweep.name, sweep.tune, sweep.search, sweep.trial.resumes.value_or(false));
  ProgramTrialPlan plan = plan_of(sweep, setup, directory);
  const Machine machine = this_machine();
  const SweepLock lock(directory);
  SystemClock clock;
  hpo::Study study(setup, directory / "journal", clock);
  write_file_atomically(directory / "sweep.ini", file_text);
  warm_start(study, sweep.tune.warm_start);
  ProcessRunner runner(std::move(plan), study.setup().space, machine, slots_of(sweep, machine),
                       clock);
  hpo::CoordinatorOptions options;
  options.parallel = static_cast<std::size_t>(sweep.tune.parallel);
  options.shares = static_cast<std::size_t>(sweep.trial.ranks);
  options.control = directory / "control";
  if (sweep.tune.ahead) {
    options.ahead = static_cast<std::size_t>(*sweep.tune.ahead);
  }
  hpo::Coordinator coordinator(study, runner, clock, options);
  steering.coordinator = &coordinator;
  if (steering.early != 0) {
    steering.take(steering.early);
  }
  const auto outcome = coordinator.run();
  steering.coordinator = nullptr;
  write_report(study, sweep, directory);
  tell_outcome(study, directory);
  return exit_code_of(outcome);
}

}  // namespace

int command_tune(const Arguments& arguments) {
  Keys keys;
  SweepSettings sweep;
  describe(keys, sweep);
  const auto line = take_command_line(keys, arguments, help);
  if (!line) {
    return exit_finished;
  }
  if (line->words.size() != 1) {
    throw Error(Fault::bad_input, "muster tune takes one sweep file: muster tune SWEEP.ini");
  }
  Steering steering;
  const StopSignals signals([&steering](int signal) { steering.take(signal); });
  const Resolved resolved = load(keys, {line->words.front(), current_environment(), line->options});
  if (sweep.name.empty()) {
    sweep.name = Path(line->words.front()).stem().string();
  }
  return run_sweep(sweep, resolved.file_text, steering);
}

}  // namespace muster
