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
      const auto known = most_.find(link->name());
      const std::size_t most = known != most_.end() ? known->second
                               : link->is_fixed()   ? link->slots()
                                                    : std::numeric_limits<std::size_t>::max();
      const std::size_t count = std::min(link->slots(), most);
      workers_[id].link = std::move(link);
      workers_[id].residency = Residency(count, most);
      for (std::size_t i = 0; i < count; ++i) {
        add_slot(id);
      }
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

/// Nobody is thrown out: the slot is gone when its trial is.
void WorkerRunner::drop_slot(WorkerId id) {
  auto& slots = workers_.at(id).slots;
  const std::size_t last = *slots.rbegin();
  slots.erase(last);
  owner_.erase(last);
  slots_.remove(last);
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
  while (worker.slots.size() < worker.residency.wanted()) {
    add_slot(running.worker);
  }
  while (worker.slots.size() > worker.residency.wanted()) {
    drop_slot(running.worker);
  }
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
/// where most is left.
std::optional<hpo::SlotLease> WorkerRunner::seat(hpo::TrialId trial, std::size_t /*shares*/) {
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

/// One trial fewer at once in this worker. False when there is only one.
bool WorkerRunner::make_room(WorkerId id) {
  auto& worker = workers_.at(id);
  if (worker.slots.size() < 2) {
    return residents_of(id) > 1;
  }
  worker.residency.did_not_fit();
  drop_slot(id);
  log::info(fmt::format("a trial did not fit beside the others: {} takes {} at once from here on",
                        worker.link->name(), worker.slots.size()));
  return true;
}

}  // namespace muster
