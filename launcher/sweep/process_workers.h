/// ProcessWorkers: workers as processes on this machine, reached over their pipes. One that dies is
/// started again: at once, or after a while that grows where it died before it said a word, as when
/// its program is being replaced. One that had a GPU does not come back without it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "launcher/engine/resources.h"
#include "launcher/sweep/worker_link.h"
#include "runtime/base/clock.h"
#include "runtime/base/file_system.h"
#include "runtime/comm/launch_context.h"

namespace muster {

struct ProcessWorkersPlan {
  std::vector<std::string> command;  ///< of a worker
  Environment environment;
  std::vector<Share> shares;   ///< of each worker; as many workers as entries
  std::size_t slots_each = 1;  ///< trials at once in one worker
  Path log;                    ///< what workers say on stderr; appended
};

class ProcessWorkers final : public WorkerSource {
 public:
  ProcessWorkers(ProcessWorkersPlan plan, Clock& clock);
  ~ProcessWorkers() override;
  std::vector<std::unique_ptr<WorkerLink>> joined() override;
  std::chrono::milliseconds look_every() const override;

 private:
  class Link;
  struct Heard {
    bool anything = false;
    bool card = false;
  };
  struct Seat {
    std::shared_ptr<Heard> heard;  ///< of its worker: the link's too, while there is one
    bool had_card = false;
    std::chrono::milliseconds pause{0};
    Monotonic not_before{};
  };
  ProcessWorkersPlan plan_;
  Clock& clock_;
  std::shared_ptr<File> log_;  // shared by the links, which may outlive this
  std::vector<Seat> seats_;
};

}  // namespace muster
