/// FailureNotes: trials/NNNN/failure, which says why a trial failed, whoever found it: a worker
/// that is there has written it itself; what only the coordinator knows (a value that is no number,
/// a worker that died) is written here.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "hpo/sweep_state.h"
#include "launcher/sweep/departures.h"
#include "runtime/base/file_system.h"

namespace muster {

class FailureNotes {
 public:
  explicit FailureNotes(Path trials) : trials_(std::move(trials)) {}
  /// After each commit. A full disk is a warning.
  void write(const hpo::SweepState& state);

 private:
  Path trials_;
  Departures departures_;
};

}  // namespace muster
