/// SweepRun: a tuning sweep from its settings to its report, on this machine. Owns the sweep's
/// directory while it runs. The same command again continues; a finished sweep says so. What
/// `muster tune` does once its command line is read.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "hpo/coordinator.h"
#include "launcher/sweep/worker_link.h"
#include "runtime/comm/launch_context.h"
#include "runtime/config/load.h"
#include "runtime/config/sweep.h"

namespace muster {

struct SweepRunOptions {
  bool redraws = false;             ///< stderr is a terminal
  std::string muster;               ///< this program, for workers and trials of several ranks
  std::string rank_program;         ///< muster-rank, for trials that are Muster jobs
  WorkerSource* workers = nullptr;  ///< instead of processes on this machine; outlives the run
  Environment environment;
};

class SweepRun {
 public:
  /// `resolved`: what was loaded into `settings`. Throws bad_input for settings that cannot work
  /// together, a search key that the job does not have, another sweep of this name with other
  /// settings, a sweep that somebody else runs.
  SweepRun(const SweepSettings& settings, const Keys& keys, const Resolved& resolved,
           SweepRunOptions options);
  ~SweepRun();
  SweepRun(const SweepRun&) = delete;
  SweepRun& operator=(const SweepRun&) = delete;

  /// The exit code.
  int run();
  /// From any thread: save all and leave (75), or stop for good (77).
  void suspend();
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Writes report.html and best/ from the journal as it stands.
void write_sweep_results(const SweepSettings& settings, const hpo::SweepState& state, double now);

}  // namespace muster
