/// ProcessWorkers: workers as processes on this machine, reached over their pipes. One that dies is
/// started again.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "launcher/sweep/worker_link.h"
#include "runtime/base/file_system.h"
#include "runtime/comm/launch_context.h"

namespace muster {

struct ProcessWorkersPlan {
  std::vector<std::string> command;  ///< of a worker
  Environment environment;
  std::vector<std::vector<int>> cpus;  ///< of each worker: its cores; as many workers as entries
  std::size_t slots_each = 1;          ///< trials at once in one worker
  Path log;                            ///< what workers say on stderr; appended
};

class ProcessWorkers final : public WorkerSource {
 public:
  explicit ProcessWorkers(ProcessWorkersPlan plan);
  ~ProcessWorkers() override;
  std::vector<std::unique_ptr<WorkerLink>> joined() override;

 private:
  class Link;
  ProcessWorkersPlan plan_;
  std::shared_ptr<File> log_;              // shared by the links, which may outlive this
  std::vector<std::weak_ptr<int>> alive_;  // a token of each link: gone when the link is
};

}  // namespace muster
