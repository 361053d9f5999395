/// Coordinator: the one loop of a sweep, and the journal's only writer. Fills free slots, takes
/// reports, decides, commits, and only then acts: no trial starts and no answer leaves before its
/// record is on the disk. Suggestions are computed off this path. run() belongs to one thread;
/// suspend() and stop() may come from any.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "hpo/control.h"
#include "hpo/proposer.h"
#include "hpo/runner.h"
#include "hpo/study.h"

namespace muster::hpo {

struct CoordinatorOptions {
  std::size_t parallel = 0;  ///< trials at once; 0: what the slots admit
  std::size_t shares = 1;    ///< slots of a trial
  std::optional<std::size_t>
      ahead{};  ///< suggestions kept ready; unset: one a slot under a model, none with one slot
  bool thinks_aside = true;  ///< a model thinks on its own thread; false: a sweep in virtual time
  std::optional<Path> control{};  ///< the directory through which others steer
  Nanoseconds control_every = std::chrono::milliseconds(250);
  std::function<void(const Study&)> on_change{};  ///< after each commit: the live table
};

class Coordinator {
 public:
  enum class Outcome {
    finished,   ///< the sweep is over: exit 0
    suspended,  ///< everything saved, run me again: exit 75
    stopped,    ///< by hand: exit 77
  };

  Coordinator(Study& study, TrialRunner& runner, Clock& clock, CoordinatorOptions options);

  /// Trials that an earlier process left running are queued again first.
  Outcome run();
  void suspend();  ///< TERM: save all trials in one group, close the journal
  void stop();     ///< Ctrl-C, `muster stop`: the same, and the sweep counts as stopped by hand

 private:
  void count_slots();
  void fill_slots();
  bool have_proposal();
  void think_ahead();
  void take(const TrialEvent& event);
  void end_running(const std::string& reason);
  void commit_and_act();
  void read_control();
  void drain();
  void let_leave(Monotonic until);
  Monotonic next_deadline() const;
  std::size_t ahead() const;

  Study& study_;
  TrialRunner& runner_;
  Clock& clock_;
  CoordinatorOptions options_;
  Proposer proposer_;
  std::optional<ControlDirectory> control_;
  Monotonic control_due_{};
  std::vector<std::pair<Launch, SlotLease>> starts_;  // to be acted on after the commit
  std::vector<std::pair<TrialId, Verdict>> answers_;
  std::atomic<bool> wants_suspend_{false};
  std::atomic<bool> wants_stop_{false};
  bool is_done_ = false;
  std::uint64_t failures_told_ = 0;
};

}  // namespace muster::hpo
