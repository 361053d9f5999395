// How a WorkerRunner packs trials: which slots there are, whose, and which one a trial gets.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <tuple>
#include <utility>

#include "launcher/sweep/worker_runner.h"
#include "runtime/base/log.h"

namespace muster {

void WorkerRunner::take_in() {
  if (suspending_) {
    return;
  }
  for (WorkerSource* source : sources_) {
    for (auto& link : source->joined()) {
      const WorkerId id = next_worker_++;
      workers_[id].residency = residency_of(*link);
      workers_[id].link = std::move(link);
      workers_[id].rests = rest_when_back_.contains(workers_[id].link->name());
      fit_slots(id);
      has_freed_ = true;
    }
  }
}

Residency WorkerRunner::residency_of(const WorkerLink& link) const {
  const auto known = most_.find(link.name());
  const std::size_t most = searching_.contains(link.name()) ? 1
                           : known != most_.end()           ? known->second
                           : link.is_fixed()                ? link.slots()
                                             : std::numeric_limits<std::size_t>::max();
  return Residency(std::min(link.slots(), most), most);
}

/// No worker died of this trial, or none will again: when that is known of all that are suspected,
/// trials share workers as before.
void WorkerRunner::clear(hpo::TrialId trial) {
  blame_.erase(trial);
  if (!blame_.empty() || searching_.empty()) {
    return;
  }
  const auto searched = std::exchange(searching_, {});
  for (auto& [id, worker] : workers_) {
    if (searched.contains(worker.link->name())) {
      worker.residency = residency_of(*worker.link);
      fit_slots(id);
      has_freed_ = true;
    }
  }
}

/// The lowest number that no slot has, so that a worker that comes again fills its own row.
void WorkerRunner::add_slot(WorkerId id) {
  std::size_t number = 0;
  while (owner_.contains(number)) {
    ++number;
  }
  owner_[number] = id;
  workers_[id].slots.insert(number);
  slots_.add(number);
}

/// A free one if there is one. Else nobody is thrown out: the slot is gone when its trial is.
void WorkerRunner::drop_slot(WorkerId id) {
  auto& slots = workers_.at(id).slots;
  std::size_t chosen = *slots.rbegin();
  for (const std::size_t number : slots) {
    chosen = slots_.is_free(number) || !slots_.is_free(chosen) ? number : chosen;
  }
  slots.erase(chosen);
  owner_.erase(chosen);
  slots_.remove(chosen);
}

/// As many slots as it should have.
void WorkerRunner::fit_slots(WorkerId id) {
  const auto& worker = workers_.at(id);
  const std::size_t wanted = worker.rests ? 0 : worker.residency.wanted();
  while (worker.slots.size() < wanted) {
    add_slot(id);
  }
  while (worker.slots.size() > wanted) {
    drop_slot(id);
  }
}

std::size_t WorkerRunner::residents_of(WorkerId id) const {
  return static_cast<std::size_t>(std::ranges::count_if(running_, [id](const auto& entry) {
    return entry.second.worker == id && !entry.second.is_answered;
  }));
}

void WorkerRunner::measure(const WorkerEvent& said, Running& running) {
  auto& worker = workers_.at(running.worker);
  const double done = said.resource - std::exchange(running.reached, said.resource);
  worker.residency.measure(residents_of(running.worker), done, clock_.now());
  if (said.memory > worker.largest && worker.memory > 0) {
    worker.largest = said.memory;
    worker.residency.set_memory(worker.largest, worker.memory);
  }
  fit_slots(running.worker);
}

/// Of a trial that never ran, as much as the largest.
std::uint64_t WorkerRunner::need_of(hpo::TrialId trial) const {
  const auto found = memory_.find(trial);
  if (found != memory_.end()) {
    return found->second;
  }
  std::uint64_t largest = 0;
  for (const auto& [id, worker] : workers_) {
    largest = std::max(largest, worker.largest);
  }
  return largest;
}

/// Bytes that would be left beside those that run there; below zero when it would not fit.
std::int64_t WorkerRunner::room_in(WorkerId id, hpo::TrialId trial) const {
  const auto& worker = workers_.at(id);
  std::uint64_t taken = need_of(trial);
  for (const auto& [other, running] : running_) {
    taken += running.worker == id && !running.is_answered ? need_of(other) : 0;
  }
  return worker.memory == 0
             ? std::numeric_limits<std::int64_t>::max()
             : static_cast<std::int64_t>(worker.memory) - static_cast<std::int64_t>(taken);
}

/// Where it fits: where fewest are, and of those where it leaves least. Where it fits nowhere:
/// where most is left. Not while it is still leaving: a worker's word that it has gone would be
/// taken for the end of the new stay.
std::optional<hpo::SlotLease> WorkerRunner::seat(hpo::TrialId trial, std::size_t /*shares*/) {
  if (running_.contains(trial)) {
    return std::nullopt;
  }
  using Merit = std::tuple<bool, std::int64_t, std::int64_t>;
  std::optional<Merit> best;
  std::size_t chosen = 0;
  for (const auto& [number, id] : owner_) {
    if (!slots_.is_free(number)) {
      continue;
    }
    const std::int64_t room = room_in(id, trial);
    const auto residents = static_cast<std::int64_t>(residents_of(id));
    const Merit merit = room >= 0 ? Merit{true, -residents, -room} : Merit{false, room, 0};
    if (!best || merit > *best) {
      best = merit;
      chosen = number;
    }
  }
  return best ? slots_.try_lease_of(chosen) : std::nullopt;
}

bool WorkerRunner::shares_memory(WorkerId one, WorkerId other) const {
  const auto& machine = workers_.at(one).machine;
  const auto& others = workers_.at(other).machine;
  return one == other || machine.empty() || others.empty() || machine == others;
}

/// Trials of other workers run in the same memory.
bool WorkerRunner::has_neighbours(WorkerId id) const {
  return std::ranges::any_of(running_, [&](const auto& entry) {
    return entry.second.worker != id && shares_memory(id, entry.second.worker);
  });
}

/// With those that only have to leave: they still take memory.
std::size_t WorkerRunner::trials_in(WorkerId id) const {
  return static_cast<std::size_t>(std::ranges::count_if(
      running_, [id](const auto& entry) { return entry.second.worker == id; }));
}

/// A trial has come: those that are there are no longer alone, and neither is it.
void WorkerRunner::meet(WorkerId id, Running& own) {
  for (auto& [trial, other] : running_) {
    if (&other != &own && shares_memory(id, other.worker)) {
      other.had_company = own.had_company = true;
    }
  }
}

/// A trial that has gone was refused memory: fewer at once from here on, and its place stays empty
/// until one of the others has gone too. False when it was alone all the time.
bool WorkerRunner::make_room(WorkerId id, bool had_company) {
  if (!had_company) {
    return false;
  }
  auto& worker = workers_.at(id);
  const std::size_t beside = trials_in(id);
  const std::size_t most = worker.residency.wanted() - 1;
  if (most > 0) {
    worker.residency.did_not_fit(beside > 0 ? std::min(beside, most) : most);
    fit_slots(id);
    log::info(fmt::format("a trial did not fit beside the others: {} takes {} at once from here on",
                          worker.link->name(), worker.residency.wanted()));
  }
  if (beside == 0) {
    rest_for(id);
  }
  return true;
}

/// The next trial here shall have the memory to itself: either this worker rests until a trial of
/// another one has gone, or, when none runs, the others do until its next trial has.
void WorkerRunner::rest_for(WorkerId id) {
  const bool waits = has_neighbours(id);
  for (auto& [other, worker] : workers_) {
    const bool must_rest = waits ? other == id : other != id && shares_memory(id, other);
    worker.rests = worker.rests || must_rest;
    fit_slots(other);
  }
}

/// What earlier trials have left in its heap may be in the way of one that is alone: a process that
/// has run nothing yet takes it next.
void WorkerRunner::renew(WorkerId id) {
  auto& worker = workers_.at(id);
  if (worker.link->renew()) {
    most_[worker.link->name()] = worker.residency.wanted();
    worker.rests = true;
    fit_slots(id);
  }
}

void WorkerRunner::end_rests() {
  rest_when_back_.clear();
  for (auto& [id, worker] : workers_) {
    if (std::exchange(worker.rests, false)) {
      fit_slots(id);
      has_freed_ = true;
    }
  }
}

}  // namespace muster
