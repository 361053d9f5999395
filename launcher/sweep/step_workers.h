/// StepWorkers: inside a Slurm job of several tasks, one worker a task, started by one srun. They
/// join through the sweep's spool; this only keeps them there.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "launcher/engine/process.h"
#include "launcher/sweep/worker_link.h"
#include "runtime/base/clock.h"
#include "runtime/base/file_system.h"
#include "runtime/comm/launch_context.h"

namespace muster {

struct StepWorkersPlan {
  std::vector<std::string> command;  ///< of a worker
  std::vector<std::string> srun;     ///< more words for srun
  int tasks = 1;
  Environment environment;  ///< with Slurm's own variables
  Path log;
};

class StepWorkers final : public WorkerSource {
 public:
  StepWorkers(StepWorkersPlan plan, const Clock& clock) : plan_(std::move(plan)), clock_(clock) {}
  /// Starts srun, and again when it has ended, not at once. Throws Error when it ends too often.
  std::vector<std::unique_ptr<WorkerLink>> joined() override;

 private:
  void start();
  StepWorkersPlan plan_;
  const Clock& clock_;
  std::unique_ptr<Process> process_;
  Monotonic next_start_{};
  int starts_ = 0;
};

}  // namespace muster
