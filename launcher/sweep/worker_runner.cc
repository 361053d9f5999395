// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/worker_runner.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/log.h"

namespace muster {

using hpo::Decision;
using hpo::TrialEvent;
using hpo::TrialState;

namespace {

constexpr int blamed_after = 3;

TrialEvent ended(hpo::TrialId trial, TrialState state, std::string reason) {
  TrialEvent event;
  event.trial = trial;
  event.kind = TrialEvent::Kind::ended;
  event.state = state;
  event.reason = std::move(reason);
  return event;
}

}  // namespace

WorkerRunner::WorkerRunner(WorkerRunnerPlan plan, std::vector<WorkerSource*> sources,
                           const hpo::Space& space, Clock& clock)
    : plan_(plan),
      sources_(std::move(sources)),
      space_(space),
      clock_(clock),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!wake_) {
    throw_errno("make an event for the runner", errno);
  }
  take_in();
  has_freed_ = false;  // its slots are there before anybody polls
}

WorkerRunner::~WorkerRunner() = default;

void WorkerRunner::send(WorkerId id, const WorkerOrder& order) {
  workers_.at(id).link->send(line_of(order));
}

void WorkerRunner::start(const hpo::Launch& launch, hpo::SlotLease lease) {
  const WorkerId id = owner_.at(lease.numbers().front());
  WorkerOrder order;
  order.kind = WorkerOrder::Kind::start;
  order.trial = launch.trial;
  order.parameters = space_.params(launch.config);
  order.from = launch.from;
  order.to = launch.to;
  auto& own = running_[launch.trial];
  own = {.worker = id, .lease = std::move(lease), .reached = launch.from};
  meet(id, own);
  send(id, order);
}

void WorkerRunner::answer(hpo::TrialId trial, const hpo::Verdict& verdict) {
  const auto found = running_.find(trial);
  if (found == running_.end() || found->second.is_answered) {
    return;
  }
  WorkerOrder order;
  order.kind = WorkerOrder::Kind::answer;
  order.trial = trial;
  order.decision = std::string(hpo::name_of(verdict.decision));
  order.to = verdict.to;
  found->second.is_answered = verdict.decision != Decision::keep_going;
  send(found->second.worker, order);
}

void WorkerRunner::suspend() {
  suspending_ = true;
  WorkerOrder order;
  order.kind = WorkerOrder::Kind::suspend;
  for (const auto& [id, worker] : workers_) {
    send(id, order);
  }
}

std::vector<TrialEvent> WorkerRunner::poll(Monotonic deadline) {
  for (;;) {
    take_in();
    std::vector<TrialEvent> events;
    std::vector<std::pair<WorkerId, WorkerEnd>> dead;
    for (auto& [id, worker] : workers_) {
      const auto over = worker.link->ended();
      std::vector<std::string> lines;
      worker.link->receive(lines);  // after asking: last words come before the end
      for (const auto& line : lines) {
        take(id, line, events);
      }
      if (over) {
        dead.emplace_back(id, *over);
      }
    }
    for (const auto& [id, how] : dead) {
      bury(id, how, events);
    }
    std::uint64_t woken = 0;
    const bool was_woken = ::read(wake_.get(), &woken, sizeof woken) > 0;
    if (!events.empty() || std::exchange(has_freed_, false) || was_woken ||
        clock_.now() >= deadline) {
      return events;
    }
    if (dead.empty()) {
      wait(deadline);
    }
  }
}

void WorkerRunner::wait(Monotonic deadline) {
  std::vector<pollfd> waits{{wake_.get(), POLLIN, 0}};
  for (const auto& [id, worker] : workers_) {
    worker.link->add_descriptors(waits);
  }
  std::chrono::milliseconds longest(1000);
  for (const WorkerSource* source : sources_) {
    longest = std::min(longest, source->look_every());
  }
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - clock_.now());
  ::poll(waits.data(), waits.size(),
         static_cast<int>(std::clamp(left, std::chrono::milliseconds(0), longest).count()));
}

void WorkerRunner::wake() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(wake_.get(), &one, sizeof one);
}

void WorkerRunner::take(WorkerId id, const std::string& line, std::vector<TrialEvent>& events) {
  if (line.empty() || line.front() != '{') {
    return;
  }
  const WorkerEvent said = event_from(line);
  using enum WorkerEvent::Kind;
  if (said.kind == ready) {
    workers_.at(id).memory = said.memory;
    workers_.at(id).machine = said.machine + said.card;  // a card's memory is its own
    return;
  }
  if (said.kind == remark) {
    log::warning(said.trial == 0 ? said.reason
                                 : fmt::format("trial {}: {}", said.trial, said.reason));
    return;
  }
  const auto found = running_.find(said.trial);
  if (found == running_.end()) {
    return;
  }
  auto& memory = memory_[said.trial];
  memory = std::max(memory, said.memory);
  switch (said.kind) {
    case idle:
      running_.erase(found);  // and the lease goes back
      has_freed_ = true;
      end_rests();
      clear(said.trial);
      return;
    case report:
      take_report(said, found->second, events);
      return;
    case ended:
      take_end(said, events);
      return;
    default:
      return;
  }
}

void WorkerRunner::take_report(const WorkerEvent& said, Running& running,
                               std::vector<TrialEvent>& events) {
  deaths_ = 0;
  if (running.is_answered) {
    return;  // on its way when the answer was given
  }
  if (plan_.finds_residency) {
    measure(said, running);
  }
  TrialEvent event;
  event.trial = said.trial;
  event.seconds = said.seconds;
  event.resource = said.resource;
  event.value = said.value;
  event.metrics = said.metrics;
  events.push_back(std::move(event));
}

void WorkerRunner::take_end(const WorkerEvent& said, std::vector<TrialEvent>& events) {
  const auto found = running_.find(said.trial);
  const WorkerId id = found->second.worker;
  const bool was_answered = found->second.is_answered;
  const bool had_company = found->second.had_company;
  running_.erase(found);  // and the lease goes back
  end_rests();
  auto state = hpo::trial_state(said.state).value_or(TrialState::failed);
  std::string reason = said.reason;
  if (state == TrialState::evicted && !make_room(id, had_company)) {
    renew(id);
    if (++blame_[said.trial] >= blamed_after) {
      state = TrialState::failed;
      reason = "does not fit into memory, even alone: " + reason;
    }
  }
  if (state != TrialState::evicted) {
    clear(said.trial);
  }
  if (was_answered) {
    has_freed_ = true;
    return;
  }
  events.push_back(muster::ended(said.trial, state, std::move(reason)));
  events.back().seconds = said.seconds;
  events.back().value = said.final_value;
}

void WorkerRunner::bury(WorkerId id, const WorkerEnd& how, std::vector<TrialEvent>& events) {
  auto& worker = workers_.at(id);
  const std::string what = fmt::format("{} {}", worker.link->name(), how.text);
  const std::size_t residents = residents_of(id);
  if (how.had_no_memory && residents > 1) {  // when it is back, one fewer
    most_[worker.link->name()] = residents - 1;
    log::info(fmt::format("{} takes {} at once from here on", worker.link->name(), residents - 1));
  }
  bool had_company = residents > 1;
  bool has_died_again = false;
  for (auto entry = running_.begin(); entry != running_.end();) {
    auto& [trial, running] = *entry;
    if (running.worker != id) {
      ++entry;
      continue;
    }
    had_company = had_company || running.had_company;
    if (!running.is_answered) {
      const bool is_suspect = residents > 1 && !how.had_no_memory && blame_[trial] > 0;
      const bool is_alone = how.had_no_memory ? residents < 2 && !running.had_company : !is_suspect;
      const bool is_blamed =
          !suspending_ && !how.is_leaving && is_alone && ++blame_[trial] >= blamed_after;
      has_died_again = has_died_again || (is_suspect && !how.is_leaving);
      events.push_back(muster::ended(
          trial,
          is_blamed           ? TrialState::failed
          : how.had_no_memory ? TrialState::evicted
                              : TrialState::preempted,
          is_blamed ? fmt::format("its worker died {} times while it ran; the last time {}",
                                  blamed_after, what)
                    : what));
      if (is_blamed) {
        clear(trial);
      }
    }
    entry = running_.erase(entry);
  }
  end_rests();
  if (how.had_no_memory && residents < 2 && has_neighbours(id)) {
    rest_when_back_.insert(worker.link->name());
  }
  for (const auto number : worker.slots) {
    slots_.remove(number);
    owner_.erase(number);
  }
  if (has_died_again) {
    searching_.insert(worker.link->name());
    log::info(fmt::format("{} takes one trial at once until it is known which one ends it",
                          worker.link->name()));
  }
  workers_.erase(id);
  has_freed_ = true;  // the slots of those that were only leaving: nothing else is said of them
  if (suspending_) {
    return;
  }
  if (how.is_leaving) {
    log::info(what);
    return;
  }
  log::warning(what + "; its trials go on elsewhere, or when it is back");
  deaths_ -= how.had_no_memory && had_company ? 1 : 0;  // something has been done about it
  if (how.is_misuse || ++deaths_ >= plan_.most_deaths) {
    throw Error(how.is_misuse ? Fault::bad_input : Fault::io,
                fmt::format("the sweep cannot go on: {}", what));
  }
}

}  // namespace muster
