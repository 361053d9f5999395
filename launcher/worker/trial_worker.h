/// TrialWorker: many trials of one Muster job in one process, each a thread with an arena, a
/// generator and a group of its own; the data set is read once and serves all (tier A). Orders come
/// in, events go out; the process around it decides how they travel. obey() and finish() belong to
/// one thread; events are said from any thread, one at a time.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "launcher/sweep/worker_messages.h"
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
};

class TrialWorker {
 public:
  /// Reads the job. Throws bad_input as `muster train` would.
  TrialWorker(TrialWorkerPlan plan, std::function<void(const WorkerEvent&)> say);
  ~TrialWorker();
  TrialWorker(const TrialWorker&) = delete;
  TrialWorker& operator=(const TrialWorker&) = delete;

  /// Starts, answers. `suspend` saves all that runs as one commit and says so; returns when it is
  /// done.
  void obey(const WorkerOrder& order);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace muster
