// SPDX-License-Identifier: Apache-2.0
#include "hpo/sweep_state.h"

#include <algorithm>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster::hpo {
namespace {

std::string lines_only_in(const std::string& text, const std::string& other,
                          const std::string& lead) {
  const std::vector<std::string> known = split(other, '\n');
  std::string only;
  for (const std::string& line : split(text, '\n')) {
    only += std::ranges::count(known, line) == 0 ? "\n  " + lead + line : "";
  }
  return only;
}

}  // namespace

SweepState::SweepState(const StudySetup& setup)
    : setup_(setup),
      scheduler_(make_scheduler(setup.scheduler, setup.scheduling)),
      completion_(setup.maximise) {}

void SweepState::apply(const Record& record) {
  seconds_ = std::max(seconds_, record.seconds);
  std::visit([&](const auto& event) { on(event, record.seconds); }, record.event);
}

const Trial* SweepState::find(TrialId id) const {
  return id >= 1 && id <= trials_.size() ? &trials_[id - 1] : nullptr;
}

Trial& SweepState::at(TrialId id) {
  if (id < 1 || id > trials_.size()) {
    throw Error(Fault::io,
                "a record of trial " + std::to_string(id) + ", which was never asked for");
  }
  return trials_[id - 1];
}

/// Trials that ran to their end can be compared; until there is one, whatever reported serves.
const Trial* SweepState::best() const {
  return find(best_complete_ != 0 ? best_complete_ : best_any_);
}

Completion::Spent SweepState::spent(double now) const {
  const double open = now * static_cast<double>(running_.size()) - open_from_;
  return {.trials = asked_, .wall = now, .slot_hours = (closed_slot_seconds_ + open) / 3600.0};
}

void SweepState::on(const SweepOpened& event, double /*seconds*/) {
  if (event.identity != setup_.identity()) {
    throw Error(Fault::bad_input,
                "the journal is of another sweep: give this one another name "
                "(--name NEW), or undo what differs:" +
                    lines_only_in(event.identity, setup_.identity(), "there: ") +
                    lines_only_in(setup_.identity(), event.identity, "here:  "));
  }
  is_opened_ = true;
  started_wall_ = event.wall;
}

void SweepState::on(const AttemptStarted& /*event*/, double /*seconds*/) {
  over_.reset();
}

void SweepState::on(const TrialAsked& event, double /*seconds*/) {
  require(event.trial == next_id(), "trials are asked for in order");
  Trial trial;
  trial.id = event.trial;
  trial.config = event.config;
  trial.origin = event.origin;
  trials_.push_back(std::move(trial));
  ++asked_;
  pending_.insert(event.trial);
  (event.is_proposal ? proposed_ : enqueued_).push_back(event.trial);
  if (event.is_proposal) {
    has_begun_ = true;
    ++proposals_;
    seen_ = event.seen;
    completion_.proposed(event.expected_gain);
    if (!event.searcher_state.empty()) {
      searcher_state_ = event.searcher_state;
    }
  }
}

void SweepState::on(const TrialLaunched& event, double seconds) {
  has_begun_ = true;
  Trial& trial = at(event.trial);
  if (trial.state == TrialState::running) {
    leave_slot(trial, seconds);  // the process that ran it is gone
  }
  leave_queues(event.trial);
  trial.state = TrialState::running;
  trial.came_again = event.again;
  trial.reason.clear();
  if (!event.again) {
    trial.bracket = event.bracket;
    trial.to = event.to;
    scheduler_->start(event.trial, event.bracket, event.to);
  }
  trial.spans.push_back({.slot = event.slot, .from = seconds, .to = std::nullopt});
  running_.insert(event.trial);
  pending_.insert(event.trial);
  open_from_ += seconds;
}

void SweepState::on(const TrialReported& event, double seconds) {
  Trial& trial = at(event.trial);
  const double before = trial.to;
  const double loss = loss_of(event.value);
  const auto& rungs = scheduler_->rungs();
  const double reached = event.resource.value_or(rungs.empty() ? no_limit : rungs.back());
  trial.curve.push_back({event.resource, event.value, event.verdict});
  trial.value = event.value;
  trial.resource = event.resource.value_or(setup_.max_resource().value_or(trial.resource));
  trial.seconds += event.seconds;
  trial.metrics = event.metrics;
  if (!event.info.empty()) {
    trial.info = event.info;
  }
  scheduler_->record(event.trial, reached, loss, event.verdict);
  completion_.reported(loss);
  const Decision decision = event.verdict.decision;
  if (decision != Decision::keep_going || reached >= before) {
    observe(trial, false);
    count_result(trial);
  }
  if (decision == Decision::keep_going) {
    trial.to = event.verdict.to;
    return;
  }
  leave_slot(trial, seconds);
  close(trial, decision == Decision::pause  ? TrialState::paused
               : decision == Decision::stop ? TrialState::stopped
                                            : TrialState::complete);
}

void SweepState::on(const TrialEnded& event, double seconds) {
  Trial& trial = at(event.trial);
  leave_slot(trial, seconds);
  leave_queues(event.trial);
  trial.reason = event.reason;
  trial.failures += event.is_failure ? 1 : 0;
  if (is_waiting(event.state)) {
    trial.state = event.state;
    waiting_.insert(event.trial);
    return;
  }
  scheduler_->end(event.trial, event.state);
  if (event.state == TrialState::failed) {
    completion_.failed();
    observe(trial, true);
  } else if (trial.value && trial.state == TrialState::running) {
    observe(trial, false);
    count_result(trial);
  }
  close(trial, event.state);
}

void SweepState::on(const MetricNamed& event, double /*seconds*/) {
  require(event.number == metric_names_.size(), "metrics are numbered in order");
  metric_names_.push_back(event.name);
}

void SweepState::on(const ResultAdded& event, double /*seconds*/) {
  has_begun_ = true;
  require(event.trial == next_id(), "trials are numbered in order");
  Trial trial;
  trial.id = event.trial;
  trial.config = event.config;
  trial.origin = event.source;
  trial.is_added = true;
  trial.resource = event.resource.value_or(setup_.max_resource().value_or(0.0));
  if (!event.failed) {
    trial.value = event.value;
    trial.curve.push_back({event.resource, event.value, {.decision = Decision::complete}});
  }
  trials_.push_back(std::move(trial));
  Trial& row = trials_.back();
  observe(row, event.failed);
  const auto& rungs = scheduler_->rungs();
  const bool is_full = rungs.empty() || row.resource >= rungs.back();
  if (!event.failed) {
    count_result(row);
  }
  close(row, event.failed ? TrialState::failed
             : is_full    ? TrialState::complete
                          : TrialState::stopped);
}

void SweepState::on(const LimitsSet& event, double /*seconds*/) {
  limits_ = event.limits;
  if (!event.by_hand) {
    limits_of_setup_ = event.limits;
  }
  over_.reset();
}

void SweepState::on(const SweepOver& event, double /*seconds*/) {
  over_ = event.reason;
}

void SweepState::on(const RowLent& event, double /*seconds*/) {
  has_begun_ = true;
  const bool is_staged = setup_.searching.max_resource > 0.0;
  history_.append({.trial = 0,
                   .config = event.config,
                   .resource = is_staged ? event.resource.value_or(0.0) : 0.0,
                   .value = event.failed ? 0.0 : loss_of(event.value),
                   .failed = event.failed,
                   .source = std::clamp(event.source, 1U, std::max(1U, setup_.searching.sources))});
}

std::string SweepState::why(const Trial& trial) const {
  return trial.reason == "nan" ? "its " + setup_.metric + " was not a finite number" : trial.reason;
}

void SweepState::on(const SlotsCounted& event, double seconds) {
  slot_counts_.push_back({.from = seconds, .count = event.count});
}

void SweepState::leave_slot(Trial& trial, double seconds) {
  if (running_.erase(trial.id) > 0) {
    Trial::Span& span = trial.spans.back();
    span.to = seconds;
    open_from_ -= span.from;
    closed_slot_seconds_ += seconds - span.from;
  }
}

void SweepState::leave_queues(TrialId id) {
  waiting_.erase(id);
  for (std::deque<TrialId>* queue : {&enqueued_, &proposed_}) {
    if (const auto found = std::find(queue->begin(), queue->end(), id); found != queue->end()) {
      queue->erase(found);
    }
  }
}

void SweepState::observe(const Trial& trial, bool failed) {
  const bool is_staged = setup_.searching.max_resource > 0.0;
  history_.append({.trial = trial.id,
                   .config = trial.config,
                   .resource = is_staged ? trial.resource : 0.0,
                   .value = failed ? 0.0 : loss_of(trial.value.value_or(0.0)),
                   .failed = failed});
}

void SweepState::count_result(Trial& trial) {
  const double loss = loss_of(*trial.value);
  if (!trial.is_added) {
    completion_.finished(loss, !trial.has_result);
  }
  trial.has_result = true;
  const auto better = [&](TrialId than) {
    return than == 0 || (than != trial.id && loss < loss_of(*at(than).value));
  };
  if (better(best_any_)) {
    best_any_ = trial.id;
  }
}

void SweepState::close(Trial& trial, TrialState state) {
  trial.state = state;
  pending_.erase(trial.id);
  if (state == TrialState::complete && trial.value) {
    const TrialId best = best_complete_;
    if (best == 0 || loss_of(*trial.value) < loss_of(*at(best).value)) {
      best_complete_ = trial.id;
    }
  }
}

}  // namespace muster::hpo
