/// ProgramWorker: the worker that gives every trial processes of its own (tier B): programs in any
/// language, and Muster jobs of several ranks.
///
/// With `tune.resource` a program is told how far to run and ends there: its last value is reported
/// when it has ended, so that its checkpoint is complete, and it is started again when it may go
/// on. Without, it runs on and is stopped by its reports.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "launcher/engine/resources.h"
#include "launcher/sweep/program_trial.h"
#include "launcher/sweep/sweep_worker.h"
#include "runtime/base/clock.h"

namespace muster {

class ProgramWorker final : public SweepWorker {
 public:
  /// The machine's cores and cards are divided among `slots` trials; more than that share. Throws
  /// bad_input where a trial needs more cards than there are.
  ProgramWorker(ProgramTrialPlan plan, const Machine& machine, std::size_t slots, Clock& clock,
                Say say);
  ~ProgramWorker() override;
  ProgramWorker(const ProgramWorker&) = delete;
  ProgramWorker& operator=(const ProgramWorker&) = delete;

  void obey(const WorkerOrder& order) override;
  void advance() override;
  void add_descriptors(std::vector<pollfd>& waits) const override;
  bool is_idle() const override { return running_.empty(); }

 private:
  struct Running;
  void start(const WorkerOrder& order);
  void answer(const WorkerOrder& order);
  void suspend();
  void begin(Running& running);
  void try_begin(Running& running);
  void advance(Running& running);
  void take(Running& running, TrialReading reading);
  void finish(Running& running, const TrialEnding& ending);
  void report(Running& running, const TrialReading& reading, std::uint64_t memory);
  void end(Running& running, const std::string& state, const std::string& reason);
  WorkerEvent event(Running& running, WorkerEvent::Kind kind);
  std::size_t free_place() const;
  std::optional<std::vector<std::string>> cards_at(std::size_t place) const;
  bool told_how_far() const { return !plan_.resource_argument.empty(); }

  ProgramTrialPlan plan_;
  Clock& clock_;
  std::vector<Share> shares_;
  std::vector<std::string> cards_;
  Say say_;
  std::map<std::uint32_t, std::unique_ptr<Running>> running_;
};

}  // namespace muster
