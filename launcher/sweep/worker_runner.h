/// WorkerRunner: the TrialRunner whose trials are in workers, as threads or as processes, wherever
/// those are and however they are reached. Workers join and leave while it runs. One that dies
/// costs its trials the time since their last commit: they come again, and a trial that was there
/// at three deaths is blamed, and so is one that did not fit alone as often. How many a worker
/// takes at once is measured (Residency) and lowered when one did not fit. A trial goes to the
/// worker whose memory it fills best. One that was refused memory while others were in the same
/// machine's is not blamed: its place stays empty until one of those has gone, so that in the end
/// it is alone. One thread, the coordinator's; only wake() may come from another.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "hpo/runner.h"
#include "hpo/space.h"
#include "launcher/sweep/residency.h"
#include "launcher/sweep/worker_link.h"
#include "launcher/sweep/worker_messages.h"
#include "runtime/base/handle.h"

namespace muster {

struct WorkerRunnerPlan {
  int most_deaths = 10;          ///< without a report in between: then the sweep cannot go on
  bool finds_residency = false;  ///< by measuring; else a worker's own number of slots stands
};

class WorkerRunner final : public hpo::TrialRunner {
 public:
  /// Takes in whoever is there at once. The sources must outlive it.
  WorkerRunner(WorkerRunnerPlan plan, std::vector<WorkerSource*> sources, const hpo::Space& space,
               Clock& clock);
  ~WorkerRunner() override;
  WorkerRunner(const WorkerRunner&) = delete;
  WorkerRunner& operator=(const WorkerRunner&) = delete;

  hpo::Slots& slots() override { return slots_; }
  std::optional<hpo::SlotLease> seat(hpo::TrialId trial, std::size_t shares) override;
  void start(const hpo::Launch& launch, hpo::SlotLease lease) override;
  void answer(hpo::TrialId trial, const hpo::Verdict& verdict) override;
  void suspend() override;
  /// Throws Error when workers die again and again before any of them reports.
  std::vector<hpo::TrialEvent> poll(Monotonic deadline) override;
  void wake() override;
  std::size_t workers() const { return workers_.size(); }

 private:
  using WorkerId = std::size_t;
  struct Worker {
    std::unique_ptr<WorkerLink> link;
    std::set<std::size_t> slots;  ///< numbers of its slots
    Residency residency{1};
    std::uint64_t memory = 0;   ///< bytes for its trials; 0: not known
    std::uint64_t largest = 0;  ///< bytes of its largest trial so far
    std::string machine;        ///< whose memory that is; empty: not known, so perhaps any
    bool rests = false;         ///< takes nothing until a trial elsewhere has gone
  };
  struct Running {
    WorkerId worker = 0;
    hpo::SlotLease lease;
    bool is_answered =
        false;  ///< pause, stop or complete was said: only the slot is still to come back
    double reached = 0;
    bool had_company = false;  ///< there was a moment at which others were in its memory
  };
  void take_in();
  Residency residency_of(const WorkerLink& link) const;
  void clear(hpo::TrialId trial);
  void add_slot(WorkerId id);
  void drop_slot(WorkerId id);
  void fit_slots(WorkerId id);
  void measure(const WorkerEvent& said, Running& running);
  std::size_t residents_of(WorkerId id) const;
  void send(WorkerId id, const WorkerOrder& order);
  std::uint64_t need_of(hpo::TrialId trial) const;
  std::int64_t room_in(WorkerId id, hpo::TrialId without) const;
  void take(WorkerId id, const std::string& line, std::vector<hpo::TrialEvent>& events);
  void take_report(const WorkerEvent& said, Running& running, std::vector<hpo::TrialEvent>& events);
  void take_end(const WorkerEvent& said, std::vector<hpo::TrialEvent>& events);
  bool shares_memory(WorkerId one, WorkerId other) const;
  bool has_neighbours(WorkerId id) const;
  std::size_t trials_in(WorkerId id) const;
  void meet(WorkerId id, Running& own);
  bool make_room(WorkerId id, bool had_company);
  void rest_for(WorkerId id);
  void renew(WorkerId id);
  void end_rests();
  void bury(WorkerId id, const WorkerEnd& end, std::vector<hpo::TrialEvent>& events);
  void wait(Monotonic deadline);

  WorkerRunnerPlan plan_;
  std::vector<WorkerSource*> sources_;
  const hpo::Space& space_;
  Clock& clock_;
  hpo::Slots slots_;  // before running_: leases die first
  std::map<WorkerId, Worker> workers_;
  std::map<std::size_t, WorkerId> owner_;  // of each slot
  std::map<hpo::TrialId, Running> running_;
  std::map<hpo::TrialId, int> blame_;
  std::map<hpo::TrialId, std::uint64_t> memory_;  // bytes that a trial has taken at most
  std::map<std::string, std::size_t> most_;       // trials at once, by the worker's name
  std::set<std::string> searching_;  // workers that take one trial at once until it is known which
                                     // of those that were there ends them
  std::set<std::string> rest_when_back_;  // workers, by name
  WorkerId next_worker_ = 0;
  int deaths_ = 0;
  bool suspending_ = false;
  bool has_freed_ = false;  // a slot, without an event: somebody may fill it, or waits for that
  Descriptor wake_;
};

}  // namespace muster
