// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/program_worker.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "launcher/engine/owner_lock.h"
#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/base/memory_left.h"
#include "runtime/base/text.h"

namespace muster {

namespace {

/// Unless a Muster job has said it there itself, with what to do. A full disk must not end the
/// sweep.
void write_failure(const ProgramTrial& trial, const std::string& reason) {
  const Path file = trial.directory() / "failure";
  try {
    if (!read_file_if_there(file).value_or("").starts_with(reason)) {
      write_file_atomically(file, reason + "\n");
    }
  } catch (const Error& error) {
    log::warning(report(error));
  }
}

/// A program's ranks may share cards unless it has said how many it takes; a job's may not.
void check_cards(const ProgramTrialPlan& plan, std::size_t cards) {
  const auto wanted = static_cast<std::size_t>(plan.gpus.value_or(plan.is_job ? plan.ranks : 0));
  if (cards > 0 && wanted > cards) {
    throw Error(Fault::bad_input,
                fmt::format("a trial takes {} GPUs ({}), but this machine shows {}: fewer, or "
                            "trial.gpus = 0 for CPUs",
                            wanted, plan.gpus ? "trial.gpus" : "one a rank: trial.ranks", cards));
  }
}

}  // namespace

struct ProgramWorker::Running {
  /// What becomes of the launch when its processes have ended.
  enum class Fate {
    undecided,  ///< they end by themselves
    answered,   ///< pause, stop or complete was said: nothing more is sent but `idle`
    suspended,  ///< to be reported as preempted
    over,       ///< its end has been said
  };
  std::uint32_t id = 0;
  Parameters parameters;
  double from = 0;
  double to = 0;
  std::size_t place = 0;                ///< which share of the machine is its own
  std::unique_ptr<ProgramTrial> trial;  ///< none while it waits for an answer at its target
  Fate fate = Fate::undecided;
  std::optional<TrialReading> held;  ///< the last reading of a program that was told how far to run
  Monotonic spoke{};                 ///< its last event
};

ProgramWorker::ProgramWorker(ProgramTrialPlan plan, const Machine& machine, std::size_t slots,
                             Clock& clock, Say say)
    : plan_(std::move(plan)),
      clock_(clock),
      shares_(divide(machine, static_cast<int>(slots) * plan_.ranks)),
      cards_(machine.gpus),
      say_(std::move(say)) {
  require(slots > 0, "a worker needs at least one slot");
  check_cards(plan_, cards_.size());
  WorkerEvent ready;
  ready.memory = memory_left().value_or(MemoryLeft{}).bytes;
  ready.machine = this_host();
  say_(ready);
}

ProgramWorker::~ProgramWorker() = default;

void ProgramWorker::obey(const WorkerOrder& order) {
  switch (order.kind) {
    case WorkerOrder::Kind::start:
      return start(order);
    case WorkerOrder::Kind::answer:
      return answer(order);
    case WorkerOrder::Kind::suspend:
      return suspend();
  }
}

void ProgramWorker::start(const WorkerOrder& order) {
  auto running = std::make_unique<Running>();
  running->id = order.trial;
  running->parameters = order.parameters;
  running->from = order.from;
  running->to = order.to;
  running->place = free_place();
  running->spoke = clock_.now();
  auto& there = *(running_[order.trial] = std::move(running));
  try_begin(there);
}

std::size_t ProgramWorker::free_place() const {
  std::set<std::size_t> taken;
  for (const auto& [trial, running] : running_) {
    taken.insert(running->place);
  }
  std::size_t place = 0;
  while (taken.contains(place)) {
    ++place;
  }
  return place;
}

/// In turn, so that trials share a card only where there are too few: and none twice, at which CUDA
/// would show no card at all.
std::optional<std::vector<std::string>> ProgramWorker::cards_at(std::size_t place) const {
  if (cards_.empty()) {
    return std::nullopt;
  }
  const auto wanted = static_cast<std::size_t>(plan_.gpus.value_or(plan_.ranks));
  std::vector<std::string> cards;
  for (std::size_t i = 0; i < std::min(wanted, cards_.size()); ++i) {
    cards.push_back(cards_[(place * wanted + i) % cards_.size()]);
  }
  return cards;
}

void ProgramWorker::try_begin(Running& running) {
  try {
    begin(running);
  } catch (const std::exception& error) {
    end(running, "failed", muster::report(error));
  }
}

void ProgramWorker::begin(Running& running) {
  ProgramTrialSeat seat;
  seat.trial = running.id;
  seat.parameters = running.parameters;
  seat.from = running.from;
  seat.to = running.to;
  const auto ranks = static_cast<std::size_t>(plan_.ranks);
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    const auto& share = shares_[(running.place * ranks + rank) % shares_.size()];
    seat.cpus.insert(seat.cpus.end(), share.cpus.begin(), share.cpus.end());
  }
  seat.gpus = cards_at(running.place);
  running.held.reset();
  running.trial = std::make_unique<ProgramTrial>(plan_, seat, clock_.now());
}

void ProgramWorker::answer(const WorkerOrder& order) {
  const auto found = running_.find(order.trial);
  if (found == running_.end() || found->second->fate != Running::Fate::undecided) {
    return;
  }
  auto& running = *found->second;
  if (order.decision == "continue") {
    running.from = std::max(running.from, std::min(running.to, order.to));
    running.to = order.to;
    if (!running.trial) {  // it waited at its target: start it again, with a new one
      try_begin(running);
    }
    return;
  }
  running.fate = Running::Fate::answered;
  if (running.trial) {
    running.trial->stop(clock_.now());
  }
}

void ProgramWorker::suspend() {
  for (auto& [trial, running] : running_) {
    if (running->fate == Running::Fate::undecided) {
      running->fate = Running::Fate::suspended;
    }
    if (running->trial) {
      running->trial->stop(clock_.now());
    }
  }
}

void ProgramWorker::add_descriptors(std::vector<pollfd>& waits) const {
  for (const auto& [trial, running] : running_) {
    if (running->trial) {
      running->trial->add_descriptors(waits);
    }
  }
}

void ProgramWorker::advance() {
  for (auto entry = running_.begin(); entry != running_.end();) {
    auto& running = *entry->second;
    try {
      advance(running);
    } catch (const std::exception& error) {  // of its files: the others go on
      running.trial.reset();
      end(running, "failed", muster::report(error));
    }
    const bool is_over = !running.trial && running.fate != Running::Fate::undecided;
    if (is_over && running.fate == Running::Fate::answered) {
      say_(event(running, WorkerEvent::Kind::idle));
    }
    entry = is_over ? running_.erase(entry) : std::next(entry);
  }
}

void ProgramWorker::advance(Running& running) {
  if (!running.trial) {
    if (running.fate == Running::Fate::suspended) {  // it stood at its target, saved
      end(running, "preempted", "saved its state");
    }
    return;
  }
  std::vector<TrialReading> readings;
  const auto ending = running.trial->advance(clock_.now(), readings);
  for (auto& reading : readings) {
    take(running, std::move(reading));
  }
  if (ending) {
    finish(running, *ending);
  }
}

void ProgramWorker::take(Running& running, TrialReading reading) {
  if (running.fate != Running::Fate::undecided) {
    return;  // what is printed after the answer belongs to nobody
  }
  if (told_how_far() && reading.resource <= running.from) {
    return;  // done again after a crash: reported before
  }
  if (told_how_far() && reading.resource >= running.to) {
    running.held = std::move(reading);
  } else {
    report(running, reading, running.trial->peak_memory());
  }
}

WorkerEvent ProgramWorker::event(Running& running, WorkerEvent::Kind kind) {
  WorkerEvent said;
  said.kind = kind;
  said.trial = running.id;
  const auto now = clock_.now();
  said.seconds = std::chrono::duration<double>(now - std::exchange(running.spoke, now)).count();
  return said;
}

void ProgramWorker::report(Running& running, const TrialReading& reading, std::uint64_t memory) {
  WorkerEvent said = event(running, WorkerEvent::Kind::report);
  said.resource = reading.resource;
  said.value = reading.value;
  said.metrics = reading.others;
  said.memory = memory;
  say_(said);
}

void ProgramWorker::finish(Running& running, const TrialEnding& ending) {
  using enum TrialEnding::Kind;
  const auto trial = std::exchange(running.trial, nullptr);
  if (running.fate == Running::Fate::answered) {
    return;
  }
  if (ending.kind == did_not_fit) {
    end(running, "evicted", ending.reason);
  } else if (ending.kind == saved || running.fate == Running::Fate::suspended) {
    end(running, "preempted", ending.kind == saved ? ending.reason : "ended by a preemption");
  } else if (ending.kind == failed) {
    write_failure(*trial, ending.reason);
    end(running, "failed", ending.reason);
  } else if (!trial->last_value()) {
    const auto complaints = trial->complaints();
    end(running, "failed",
        fmt::format("ended without a value of {}{}{}", plan_.objective,
                    complaints.empty() ? "" : ": ", join(complaints, "; ")));
  } else if (told_how_far() && std::isfinite(running.to)) {
    TrialReading last = running.held.value_or(
        TrialReading{.value = *trial->last_value(), .resource = 0, .others = {}});
    last.resource = running.to;
    report(running, last,
           trial->peak_memory());  // and waits for the answer, its checkpoint complete
  } else {
    WorkerEvent said = event(running, WorkerEvent::Kind::ended);
    said.state = "complete";
    said.final_value = trial->last_value();
    said.memory = trial->peak_memory();
    running.fate = Running::Fate::over;
    say_(said);
  }
}

void ProgramWorker::end(Running& running, const std::string& state, const std::string& reason) {
  WorkerEvent said = event(running, WorkerEvent::Kind::ended);
  said.state = state;
  said.reason = reason;
  running.fate = Running::Fate::over;
  say_(said);
}

}  // namespace muster
