// SPDX-License-Identifier: Apache-2.0
#include "hpo/coordinator.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/log.h"

namespace muster::hpo {
namespace {

constexpr std::chrono::minutes patience{10};  // with trials that are to leave

bool thinks(const StudySetup& setup) {
  return setup.searcher != "random" && setup.searcher != "sobol" && setup.searcher != "grid";
}

}  // namespace

Coordinator::Coordinator(Study& study, TrialRunner& runner, Clock& clock,
                         CoordinatorOptions options)
    : study_(study),
      runner_(runner),
      clock_(clock),
      options_(std::move(options)),
      proposer_(study.searcher(), options_.thinks_aside && thinks(study.setup())
                                      ? std::function<void()>([&runner] { runner.wake(); })
                                      : nullptr) {
  if (options_.control) {
    control_.emplace(*options_.control);
  }
}

void Coordinator::suspend() {
  wants_suspend_ = true;
  runner_.wake();
}

void Coordinator::stop() {
  wants_stop_ = true;
  runner_.wake();
}

Coordinator::Outcome Coordinator::run() {
  study_.requeue_running("the coordinator was restarted");
  failures_told_ = study_.state().completion().failures();
  while (true) {
    read_control();
    if (wants_suspend_ || wants_stop_) {
      drain();
      return wants_stop_ ? Outcome::stopped : Outcome::suspended;
    }
    count_slots();
    fill_slots();
    think_ahead();
    commit_and_act();
    if (is_done_ && study_.state().running().empty()) {
      let_leave(clock_.now() + patience);
      return Outcome::finished;
    }
    for (const TrialEvent& event : runner_.poll(next_deadline())) {
      take(event);
    }
  }
}

/// The earliest of: a look at control/, the end of the wall time.
Monotonic Coordinator::next_deadline() const {
  Monotonic deadline = control_ ? control_due_ : Monotonic::max();
  if (const auto limit = study_.state().limits().max_wall; limit && !is_done_) {
    const double left = std::max(0.0, *limit - study_.now());
    if (left < 1e9) {
      const auto at = clock_.now() + Nanoseconds(static_cast<std::int64_t>(left * 1e9) + 1);
      deadline = std::min(deadline, at);
    }
  }
  return deadline;
}

void Coordinator::count_slots() {
  const std::size_t slots = runner_.slots().count() / options_.shares;
  study_.count_slots(static_cast<std::uint32_t>(
      options_.parallel > 0 ? std::min(slots, options_.parallel) : slots));
}

void Coordinator::fill_slots() {
  is_done_ = false;
  while (true) {
    const bool is_full =
        runner_.slots().free() < options_.shares ||
        (options_.parallel > 0 && study_.state().running().size() >= options_.parallel);
    if (is_full && !study_.state().running().empty() && !study_.all_over() &&
        !study_.state().over()) {
      return;
    }
    const Next next = study_.next();
    if (next.kind == Next::Kind::done) {
      is_done_ = true;
      end_running(next.reason);
      return;
    }
    if (next.kind == Next::Kind::wait || is_full ||
        (next.kind == Next::Kind::propose && !have_proposal())) {
      return;
    }
    if (next.kind == Next::Kind::launch) {
      std::optional<SlotLease> lease = runner_.seat(next.trial, options_.shares);
      if (!lease) {
        return;  // it is still leaving where it was: its slot comes back first
      }
      const auto slot = static_cast<std::uint32_t>(lease->numbers().front());
      Launch launch = study_.launch(next, slot);
      starts_.emplace_back(std::move(launch), std::move(*lease));
    }
  }
}

/// Puts the searcher to work; true when its answer is in already.
bool Coordinator::have_proposal() {
  if (!proposer_.is_busy()) {
    proposer_.ask(study_.question());
  }
  const auto answer = proposer_.take();
  if (answer) {
    study_.accept(answer->proposal);
  }
  return answer.has_value();
}

std::size_t Coordinator::ahead() const {
  if (options_.ahead) {
    return *options_.ahead;
  }
  const std::size_t slots = runner_.slots().count() / options_.shares;
  return thinks(study_.setup()) && slots > 1 ? slots : 0;
}

void Coordinator::think_ahead() {
  while (proposer_.is_busy() || study_.wants_proposal(ahead())) {
    if (!have_proposal()) {
      return;
    }
  }
}

void Coordinator::take(const TrialEvent& event) {
  const Trial* trial = study_.state().find(event.trial);
  require(trial != nullptr, "the runner speaks of a trial that was never started");
  if (trial->state != TrialState::running) {
    return;  // it was decided while this was on its way
  }
  if (event.kind == TrialEvent::Kind::ended) {
    study_.end(event.trial, event.state, event.reason, event.value);
  } else {
    const auto answer =
        study_.tell({.trial = event.trial,
                     .resource = event.resource,
                     .value = event.value.value_or(std::numeric_limits<double>::quiet_NaN()),
                     .metrics = event.metrics,
                     .seconds = event.seconds});
    if (const auto* verdict = std::get_if<Verdict>(&answer)) {
      answers_.emplace_back(event.trial, *verdict);
    } else {  // a report that goes back behind what is known: the trial repeats it after a restart
      answers_.emplace_back(event.trial, Verdict{Decision::keep_going, trial->to});
    }
  }
  const std::uint64_t failures = study_.state().completion().failures();
  if (failures > failures_told_) {
    failures_told_ = failures;
    log::warning("trial " + std::to_string(event.trial) + " failed: " + study_.state().why(*trial) +
                 " (" + std::to_string(failures) + " failed so far; the sweep goes on)");
  }
}

void Coordinator::end_running(const std::string& reason) {
  const std::set<TrialId> running = study_.state().running();
  for (const TrialId trial : running) {
    study_.stop_trial(trial, reason);
    answers_.emplace_back(trial, Verdict{.decision = Decision::stop});
  }
}

void Coordinator::commit_and_act() {
  const bool has_changed = study_.has_uncommitted();
  study_.commit();
  for (auto& [trial, verdict] : answers_) {
    runner_.answer(trial, verdict);
  }
  answers_.clear();
  for (auto& [launch, lease] : starts_) {
    const bool is_running = study_.state().find(launch.trial)->state == TrialState::running;
    if (is_running) {  // not stopped by hand within the same round
      runner_.start(launch, std::move(lease));
    }
  }
  starts_.clear();
  if (has_changed && options_.on_change) {
    options_.on_change(study_);
  }
}

void Coordinator::read_control() {
  if (!control_ || clock_.now() < control_due_) {
    return;
  }
  control_due_ = clock_.now() + options_.control_every;
  for (const ControlRequest& request : control_->requests()) {
    ControlEffect effect = obey(study_, request.text);
    study_.commit();
    control_->reply(request, effect.answer);
    for (const TrialId trial : effect.stopped) {
      answers_.emplace_back(trial, Verdict{.decision = Decision::stop});
    }
    wants_stop_ = wants_stop_ || effect.stop_sweep;
  }
}

/// Saves what runs and takes its last words.
void Coordinator::drain() {
  commit_and_act();
  runner_.suspend();
  const Monotonic until = clock_.now() + patience;
  while (!study_.state().running().empty() && clock_.now() < until) {
    for (const TrialEvent& event : runner_.poll(until)) {
      take(event);
    }
    answers_.clear();  // it is being saved already
  }
  let_leave(until);
  study_.requeue_running("it did not save itself in time");
  if (wants_stop_) {
    study_.finish(stopped_by_hand);
  }
  study_.commit();
}

/// What has been answered may still write its model, or come to its end: its slot is not free yet.
void Coordinator::let_leave(Monotonic until) {
  while (runner_.slots().leased() > 0 && clock_.now() < until) {
    for (const TrialEvent& event : runner_.poll(until)) {
      take(event);
    }
  }
}

}  // namespace muster::hpo
