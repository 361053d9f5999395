/// TrialWorker: many trials of one Muster job in one process, each a thread with an arena, a
/// generator and a group of its own; the data set is read once and serves all (tier A). Or, where
/// trials are of several ranks, one of these: it then runs one trial at a time. Events are said
/// from any thread, one at a time.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "launcher/sweep/sweep_worker.h"
#include "launcher/worker/lane_team.h"
#include "runtime/base/file_system.h"

namespace muster {

struct TrialWorkerPlan {
  std::string job;                     ///< the job's file
  std::vector<std::string> overrides;  ///< "--train.seed=3", for all trials
  Path sweep;                          ///< sweeps/NAME
  std::string objective;               ///< the metric that is reported
  double max_resource =
      0;  ///< epochs of a whole trial: what schedules are made for; 0: the job's own
  double commit_seconds = 30;  ///< a running trial is saved this often
  std::uint64_t memory = 0;    ///< bytes for its trials; 0: what is left when it starts
  int gpu_sharers = 1;         ///< workers on the same GPU, this one too
  bool needs_gpu = false;      ///< it had one: without, it fails
  OpenTeam open_team;          ///< trials are of several ranks, and this is one of them
};

class TrialWorker final : public SweepWorker {
 public:
  /// Reads the job. Throws bad_input as `muster train` would.
  TrialWorker(TrialWorkerPlan plan, Say say);
  ~TrialWorker() override;
  TrialWorker(const TrialWorker&) = delete;
  TrialWorker& operator=(const TrialWorker&) = delete;

  /// `suspend` saves all that runs as one commit; returns when it is done.
  void obey(const WorkerOrder& order) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace muster
