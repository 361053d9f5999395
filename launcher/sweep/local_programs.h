/// LocalPrograms: the worker for programs inside the coordinator's own process: their processes are
/// its children, and nothing lies in between.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "launcher/sweep/program_worker.h"
#include "launcher/sweep/worker_link.h"

namespace muster {

class LocalPrograms final : public WorkerSource {
 public:
  LocalPrograms(ProgramTrialPlan plan, Machine machine, std::size_t slots, Clock& clock);
  ~LocalPrograms() override;
  /// Its one worker, at the first call.
  std::vector<std::unique_ptr<WorkerLink>> joined() override;
  /// Limits and files of metrics have no descriptors.
  std::chrono::milliseconds look_every() const override { return std::chrono::milliseconds(100); }

 private:
  class Link;
  std::unique_ptr<Link> link_;
};

}  // namespace muster
