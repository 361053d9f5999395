// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/failure_notes.h"

#include "launcher/sweep/program_trial.h"
#include "runtime/base/error.h"
#include "runtime/base/log.h"

namespace muster {

void FailureNotes::write(const hpo::SweepState& state) {
  for (const auto id : departures_.since_last(state)) {
    const auto& trial = *state.find(id);
    if (trial.state != hpo::TrialState::failed) {
      continue;
    }
    try {
      const Path directory = trial_directory(trials_, id);
      posix_file_system().make_directory(directory);
      if (!posix_file_system().exists(directory / "failure")) {
        write_file_atomically(directory / "failure", state.why(trial) + "\n");
      }
    } catch (const Error& error) {
      log::warning(report(error));
    }
  }
}

}  // namespace muster
