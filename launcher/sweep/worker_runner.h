/// WorkerRunner: the TrialRunner whose trials are threads in worker processes (tier A), reached by
/// JSON lines over pipes. A worker that dies costs its trials the time since their last commit:
/// they come again, and a trial that was there at three deaths is blamed. One thread, the
/// coordinator's; only wake() may come from another.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "hpo/runner.h"
#include "hpo/space.h"
#include "launcher/engine/line_reader.h"
#include "launcher/engine/process.h"
#include "launcher/sweep/worker_messages.h"

namespace muster {

struct WorkerPlan {
  std::vector<std::string> command;  ///< of a worker
  Environment environment;
  std::vector<std::vector<int>> cpus;  ///< of each worker: its cores; as many workers as entries
  std::size_t slots_each = 1;          ///< trials at once in one worker
  Path log;                            ///< what workers say on stderr; appended
  int most_deaths = 10;                ///< without a report in between: then the sweep cannot go on
};

class WorkerRunner final : public hpo::TrialRunner {
 public:
  /// Starts the workers.
  WorkerRunner(WorkerPlan plan, const hpo::Space& space, Clock& clock);
  ~WorkerRunner() override;
  WorkerRunner(const WorkerRunner&) = delete;
  WorkerRunner& operator=(const WorkerRunner&) = delete;

  hpo::Slots& slots() override { return slots_; }
  void start(const hpo::Launch& launch, hpo::SlotLease lease) override;
  void answer(hpo::TrialId trial, const hpo::Verdict& verdict) override;
  void suspend() override;
  /// Throws Error when workers die again and again before any of them reports.
  std::vector<hpo::TrialEvent> poll(Monotonic deadline) override;
  void wake() override;

 private:
  struct Worker;
  struct Running {
    std::size_t worker = 0;
    hpo::SlotLease lease;
    bool is_answered =
        false;  ///< pause, stop or complete was said: only the slot is still to come back
  };
  void start_worker(Worker& worker);
  void send(Worker& worker, const WorkerOrder& order);
  void flush(Worker& worker);
  void read(Worker& worker, std::vector<hpo::TrialEvent>& events);
  void take(const WorkerEvent& event, std::vector<hpo::TrialEvent>& events);
  void bury(std::size_t index, const Ended& ended, std::vector<hpo::TrialEvent>& events);
  void wait(Monotonic deadline);

  WorkerPlan plan_;
  const hpo::Space& space_;
  Clock& clock_;
  hpo::Slots slots_;  // before running_: leases die first
  std::vector<std::unique_ptr<Worker>> workers_;
  std::map<hpo::TrialId, Running> running_;
  std::map<hpo::TrialId, int> blame_;
  int deaths_ = 0;
  bool suspending_ = false;
  std::unique_ptr<File> log_;
  Descriptor wake_;
};

}  // namespace muster
