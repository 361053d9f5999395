// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/trial_notes.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>

#include "launcher/engine/owner_lock.h"
#include "launcher/supervise/run_status.h"
#include "launcher/sweep/program_trial.h"
#include "runtime/base/error.h"
#include "runtime/base/log.h"

namespace muster {
namespace {

constexpr const char* engine_of_trials = "sweep";  // in status.json

const char* run_state(hpo::TrialState trial) {
  switch (trial) {
    case hpo::TrialState::running:
      return state::training;
    case hpo::TrialState::queued:
    case hpo::TrialState::paused:
    case hpo::TrialState::preempted:
    case hpo::TrialState::evicted:
      return state::interrupted;
    case hpo::TrialState::failed:
      return state::failed;
    case hpo::TrialState::stopped:
      return state::stopped;
    case hpo::TrialState::complete:
      return state::completed;
  }
  return state::interrupted;
}

/// What there is already, so that earlier changes of state stay.
JobStatus status_in(const Path& file) {
  const auto text = read_file_if_there(file);
  try {
    return text ? status_from_json(*text, file.string()) : JobStatus();
  } catch (const Error&) {
    return {};  // torn with a machine
  }
}

}  // namespace

bool is_told_by_its_sweep(const Path& trial) {
  const Path file = trial / "status.json";
  return !posix_file_system().exists(file) || status_in(file).engine == engine_of_trials;
}

void TrialNotes::write(const hpo::SweepState& state) {
  std::vector<hpo::TrialId> changed;
  std::ranges::set_symmetric_difference(ran_, state.running(), std::back_inserter(changed));
  ran_ = state.running();
  for (const auto id : changed) {
    const auto& trial = *state.find(id);
    try {
      const Path directory = trial_directory(trials_, id);
      posix_file_system().make_directory(directory);
      if (trial.state == hpo::TrialState::failed &&
          !posix_file_system().exists(directory / "failure")) {
        write_file_atomically(directory / "failure", state.why(trial) + "\n");
      }
      if (!has_status_) {
        write_status(directory, state, trial);
      }
    } catch (const Error& error) {
      log::warning(report(error));
    }
  }
}

void TrialNotes::write_status(const Path& directory, const hpo::SweepState& state,
                              const hpo::Trial& trial) {
  JobStatus status = status_in(directory / "status.json");
  status.name = fmt::format("{}-{:04}", state.setup().name, trial.id);
  status.enter(run_state(trial.state),
               trial.state == hpo::TrialState::paused ? "paused: it goes on when it is promoted"
                                                      : state.why(trial),
               std::chrono::system_clock::now());
  if (const auto metrics = last_metrics(directory / "metrics.jsonl")) {
    status.step = metrics->step.value_or(0);
    status.epoch = metrics->epoch;
    status.metrics = metrics->values;
  }
  status.ranks = ranks_;
  status.engine = engine_of_trials;
  status.host = this_host();
  status.pid = ::getpid();
  status.restarts = static_cast<int>(trial.spans.empty() ? 0 : trial.spans.size() - 1);
  status.run_seconds = trial.seconds;
  status.failure = trial.state == hpo::TrialState::failed ? state.why(trial) : "";
  write_file_atomically(directory / "status.json", to_json(status));
}

}  // namespace muster
