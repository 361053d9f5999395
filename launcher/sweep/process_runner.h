/// ProcessRunner: the TrialRunner that gives every trial processes of its own (tier B): programs in
/// any language, and trials of several ranks. One thread, the coordinator's; only wake() may come
/// from another.
///
/// With `tune.resource` a program is told how far to run and ends there: its last value is reported
/// when it has ended, so that its checkpoint is complete, and it is started again when it may go
/// on. Without, it runs on and is stopped by its reports.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "hpo/runner.h"
#include "hpo/space.h"
#include "launcher/engine/resources.h"
#include "launcher/sweep/program_trial.h"

namespace muster {

class ProcessRunner final : public hpo::TrialRunner {
 public:
  /// `slots` trials at once (a trial of k ranks takes k); the machine's cores and cards are divided
  /// among them.
  ProcessRunner(ProgramTrialPlan plan, const hpo::Space& space, const Machine& machine,
                std::size_t slots, Clock& clock);
  ~ProcessRunner() override;
  ProcessRunner(const ProcessRunner&) = delete;
  ProcessRunner& operator=(const ProcessRunner&) = delete;

  hpo::Slots& slots() override { return slots_; }
  void start(const hpo::Launch& launch, hpo::SlotLease lease) override;
  void answer(hpo::TrialId trial, const hpo::Verdict& verdict) override;
  void suspend() override;
  std::vector<hpo::TrialEvent> poll(Monotonic deadline) override;
  void wake() override;

 private:
  struct Running;
  void begin(Running& running);
  void advance(Running& running, std::vector<hpo::TrialEvent>& events);
  void finish(Running& running, const TrialEnding& ending, std::vector<hpo::TrialEvent>& events);
  void end(Running& running, hpo::TrialState state, std::string reason,
           std::vector<hpo::TrialEvent>& events);
  hpo::TrialEvent report(Running& running, const TrialReading& reading);
  void wait(Monotonic deadline);
  bool told_how_far() const { return !plan_.resource_argument.empty(); }

  ProgramTrialPlan plan_;
  const hpo::Space& space_;
  Clock& clock_;
  std::vector<Share> shares_;
  hpo::Slots slots_;  // before running_: leases die first
  std::map<hpo::TrialId, std::unique_ptr<Running>> running_;
  std::map<hpo::TrialId, int> evictions_;
  std::vector<hpo::TrialEvent> at_once_;  // of launches that could not start
  Descriptor wake_;
};

}  // namespace muster
