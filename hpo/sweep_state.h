/// SweepState: everything that is known of a sweep, as a function of its records alone. A live
/// sweep and a replay of its journal apply the same records to it and so end in the same state. It
/// decides nothing that is not in a record.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "hpo/completion.h"
#include "hpo/history.h"
#include "hpo/records.h"
#include "hpo/scheduler.h"
#include "hpo/study_setup.h"

namespace muster::hpo {

/// One row of the table.
struct Trial {
  TrialId id = 0;
  Config config;
  std::string origin;
  TrialState state = TrialState::queued;
  bool is_added = false;  ///< a result from elsewhere, not of the budget
  std::uint32_t bracket = 0;
  double to = no_limit;         ///< where it runs to
  double resource = 0.0;        ///< last reported
  std::optional<double> value;  ///< last reported, in the objective's own direction
  struct Point {
    std::optional<double> resource;  ///< nothing: the final value
    double value = 0.0;
    Verdict verdict;
  };
  std::vector<Point> curve;
  struct Span {
    std::uint32_t slot = 0;
    double from = 0.0;
    std::optional<double> to;  ///< nothing: still running
  };
  std::vector<Span> spans;  ///< when it held a slot, in seconds of the sweep
  std::uint32_t failures = 0;
  bool came_again = false;  ///< its last launch may repeat reports that are known
  bool has_result = false;  ///< counted as finished once
  double seconds = 0.0;     ///< of its own time
  std::vector<std::pair<std::uint32_t, double>> metrics;  ///< at the last report
  std::string reason;  ///< why it failed, was stopped or sent back
  std::string info;
};

class SweepState {
 public:
  explicit SweepState(const StudySetup& setup);

  void apply(const Record& record);

  const StudySetup& setup() const { return setup_; }
  const std::deque<Trial>& trials() const { return trials_; }
  const Trial* find(TrialId id) const;
  TrialId next_id() const { return static_cast<TrialId>(trials_.size() + 1); }
  const Trial* best() const;
  /// Why it failed, was stopped or sent back, as a sentence; empty where there is nothing to say.
  std::string why(const Trial& trial) const;
  double loss_of(double value) const { return setup_.maximise ? -value : value; }

  const History& history() const { return history_; }
  const Scheduler& scheduler() const { return *scheduler_; }
  const Limits& limits() const { return limits_; }
  const Limits& limits_of_setup() const { return limits_of_setup_; }
  const Completion& completion() const { return completion_; }
  /// Of the budget at `now`, running trials included.
  Completion::Spent spent(double now) const;
  const std::optional<std::string>& over() const { return over_; }
  bool is_opened() const { return is_opened_; }
  /// Something ran, was proposed or was learned; false while there are at most starting points.
  bool has_begun() const { return has_begun_; }

  const std::set<TrialId>& running() const { return running_; }
  const std::set<TrialId>& waiting() const { return waiting_; }  ///< launched before, to come again
  const std::deque<TrialId>& enqueued() const { return enqueued_; }
  const std::deque<TrialId>& proposed() const { return proposed_; }  ///< never launched yet
  const std::set<TrialId>& pending() const {
    return pending_;
  }  ///< handed out, no result, not paused
  std::uint64_t asked() const { return asked_; }
  std::uint64_t proposals() const { return proposals_; }
  std::uint64_t seen() const { return seen_; }  ///< by the last proposal
  const std::string& searcher_state() const { return searcher_state_; }
  const std::vector<std::string>& metric_names() const { return metric_names_; }
  /// How many trials might run at once, and since when. Empty in journals of earlier versions.
  struct SlotCount {
    double from = 0.0;
    std::uint32_t count = 0;
  };
  const std::vector<SlotCount>& slot_counts() const { return slot_counts_; }
  std::uint32_t slots() const { return slot_counts_.empty() ? 0 : slot_counts_.back().count; }
  double seconds() const { return seconds_; }  ///< of the last record
  double started_wall() const { return started_wall_; }

 private:
  void on(const SweepOpened& event, double seconds);
  void on(const AttemptStarted& event, double seconds);
  void on(const TrialAsked& event, double seconds);
  void on(const TrialLaunched& event, double seconds);
  void on(const TrialReported& event, double seconds);
  void on(const TrialEnded& event, double seconds);
  void on(const MetricNamed& event, double seconds);
  void on(const ResultAdded& event, double seconds);
  void on(const LimitsSet& event, double seconds);
  void on(const SweepOver& event, double seconds);
  void on(const RowLent& event, double seconds);
  void on(const SlotsCounted& event, double seconds);

  Trial& at(TrialId id);
  void leave_slot(Trial& trial, double seconds);
  void leave_queues(TrialId id);
  void observe(const Trial& trial, bool failed);
  void count_result(Trial& trial);
  void close(Trial& trial, TrialState state);

  const StudySetup& setup_;
  std::unique_ptr<Scheduler> scheduler_;
  History history_;
  Completion completion_;
  std::deque<Trial> trials_;
  std::set<TrialId> running_, waiting_, pending_;
  std::deque<TrialId> enqueued_, proposed_;
  TrialId best_complete_ = 0, best_any_ = 0;
  Limits limits_, limits_of_setup_;
  std::optional<std::string> over_;
  std::vector<std::string> metric_names_;
  std::vector<SlotCount> slot_counts_;
  std::string searcher_state_;
  std::uint64_t asked_ = 0, proposals_ = 0, seen_ = 0;
  double closed_slot_seconds_ = 0.0, open_from_ = 0.0;
  double seconds_ = 0.0, started_wall_ = 0.0;
  bool is_opened_ = false;
  bool has_begun_ = false;
};

}  // namespace muster::hpo
