// SPDX-License-Identifier: Apache-2.0
#include "hpo/simulated_runner.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace muster::hpo {
namespace {

Nanoseconds nanoseconds(double seconds) {
  return Nanoseconds(static_cast<std::int64_t>(std::llround(seconds * 1e9)));
}

}  // namespace

void SimulatedRunner::start(const Launch& launch, SlotLease lease) {
  Run& run = runs_[launch.trial];
  run.launch = launch;
  run.lease = std::move(lease);
  run.resource = launch.from;
  run.started = clock_.now();
  const double steps = launch.to == no_limit ? 1.0 : next_resource(run) - run.resource;
  schedule(run, simulation_.start_seconds + steps * simulation_.seconds(launch.config));
}

double SimulatedRunner::next_resource(const Run& run) const {
  return std::min(run.resource + simulation_.report_every, run.launch.to);
}

void SimulatedRunner::schedule(Run& run, double seconds) {
  run.ticket = next_ticket_++;
  queue_.push({clock_.now() + nanoseconds(seconds), run.ticket, run.launch.trial});
}

void SimulatedRunner::answer(TrialId trial, const Verdict& verdict) {
  const auto found = runs_.find(trial);
  if (found == runs_.end()) {
    return;
  }
  if (verdict.decision != Decision::keep_going) {
    end(trial);
    return;
  }
  Run& run = found->second;
  run.launch.to = verdict.to;
  schedule(run, (next_resource(run) - run.resource) * simulation_.seconds(run.launch.config));
}

void SimulatedRunner::end(TrialId trial) {
  const auto found = runs_.find(trial);
  busy_seconds_ += std::chrono::duration<double>(clock_.now() - found->second.started).count();
  runs_.erase(found);
}

void SimulatedRunner::suspend() {
  std::vector<TrialId> trials;
  for (const auto& [trial, run] : runs_) {
    trials.push_back(trial);
  }
  std::ranges::sort(trials);
  for (const TrialId trial : trials) {
    ready_.push_back({.trial = trial,
                      .kind = TrialEvent::Kind::ended,
                      .state = TrialState::preempted,
                      .reason = "suspended"});
    end(trial);
  }
}

void SimulatedRunner::preempt(std::size_t slot) {
  std::vector<TrialId> lost;
  for (const auto& [trial, run] : runs_) {
    if (std::ranges::count(run.lease.numbers(), slot) > 0) {
      lost.push_back(trial);
    }
  }
  for (const TrialId trial : lost) {
    ready_.push_back({.trial = trial,
                      .kind = TrialEvent::Kind::ended,
                      .state = TrialState::preempted,
                      .reason = "its worker left"});
    end(trial);
  }
}

void SimulatedRunner::at(Monotonic when, std::function<void()> action) {
  actions_[next_ticket_] = std::move(action);
  queue_.push({when, next_ticket_++, 0});
}

/// One report, or the fault that comes in its place.
TrialEvent SimulatedRunner::happen(Run& run) {
  const TrialId trial = run.launch.trial;
  const bool has_resource = run.launch.to != no_limit;
  const double resource = has_resource ? next_resource(run) : 0.0;
  if (simulation_.fault) {
    if (const auto state = simulation_.fault(run.launch, resource)) {
      end(trial);
      return {
          .trial = trial, .kind = TrialEvent::Kind::ended, .state = *state, .reason = "simulated"};
    }
  }
  const double value = simulation_.value ? simulation_.value(run.launch.config, resource)
                                         : std::numeric_limits<double>::quiet_NaN();
  if (!has_resource) {
    end(trial);
    return {.trial = trial, .kind = TrialEvent::Kind::ended, .value = value};
  }
  const double step = resource - run.resource;
  run.resource = resource;
  return {.trial = trial,
          .kind = TrialEvent::Kind::report,
          .resource = resource,
          .value = value,
          .seconds = step * simulation_.seconds(run.launch.config)};
}

std::vector<TrialEvent> SimulatedRunner::poll(Monotonic deadline) {
  while (ready_.empty() && !queue_.empty() && queue_.top().when <= deadline) {
    const Entry entry = queue_.top();
    queue_.pop();
    if (const auto action = actions_.find(entry.ticket); action != actions_.end()) {
      clock_.sleep_until(entry.when);
      action->second();
      actions_.erase(action);
      return std::exchange(ready_, {});
    }
    const auto run = runs_.find(entry.trial);
    if (run != runs_.end() && run->second.ticket == entry.ticket) {
      clock_.sleep_until(entry.when);
      ready_.push_back(happen(run->second));
    }
  }
  if (ready_.empty() && deadline != Monotonic::max()) {
    clock_.sleep_until(deadline);
  }
  return std::exchange(ready_, {});
}

}  // namespace muster::hpo
