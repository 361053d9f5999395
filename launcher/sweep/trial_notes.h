/// TrialNotes: what a trial's directory says that only the coordinator knows. status.json, as a
/// run's: its state, every change of state with its time and why. `failure`: why it failed, where
/// its worker has not written that itself (a value that is no number, a worker that died).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <set>

#include "hpo/sweep_state.h"
#include "runtime/base/file_system.h"

namespace muster {

/// Whether a trial's directory is no run that `muster` could tell more about than its sweep can:
/// status.json is the coordinator's, or there is none.
bool is_told_by_its_sweep(const Path& trial);

class TrialNotes {
 public:
  /// `has_status`: trials are programs that write their own, since each is a run of Muster.
  TrialNotes(Path trials, int ranks, bool has_status)
      : trials_(std::move(trials)), ranks_(ranks), has_status_(has_status) {}
  /// After each commit: of the trials that have taken or left a slot since the last one. A full
  /// disk is a warning.
  void write(const hpo::SweepState& state);

 private:
  void write_status(const Path& directory, const hpo::SweepState& state, const hpo::Trial& trial);
  Path trials_;
  int ranks_;
  bool has_status_;
  std::set<hpo::TrialId> ran_;
};

}  // namespace muster
