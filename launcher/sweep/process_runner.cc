// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/process_runner.h"

#include <fmt/format.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster {

using hpo::Decision;
using hpo::TrialEvent;
using hpo::TrialState;

struct ProcessRunner::Running {
  /// What becomes of the launch when its processes have ended.
  enum class Fate {
    undecided,  ///< they end by themselves
    answered,   ///< pause, stop or complete was said: nothing more is sent
    suspended,  ///< to be reported as preempted
  };
  hpo::Launch launch;
  hpo::SlotLease lease;
  std::unique_ptr<ProgramTrial> trial;  ///< none while it waits for an answer at its target
  Fate fate = Fate::undecided;
  std::optional<TrialReading> held;  ///< the last reading of a program that was told how far to run
  Monotonic spoke{};                 ///< its last event
};

ProcessRunner::ProcessRunner(ProgramTrialPlan plan, const hpo::Space& space, const Machine& machine,
                             std::size_t slots, Clock& clock)
    : plan_(std::move(plan)),
      space_(space),
      clock_(clock),
      shares_(divide(machine, static_cast<int>(slots))),
      slots_(slots),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  require(slots > 0, "a runner needs at least one slot");
  if (!wake_) {
    throw_errno("make an event for the runner", errno);
  }
}

ProcessRunner::~ProcessRunner() = default;

void ProcessRunner::start(const hpo::Launch& launch, hpo::SlotLease lease) {
  auto running = std::make_unique<Running>();
  running->launch = launch;
  running->lease = std::move(lease);
  running->spoke = clock_.now();
  try {
    begin(*running);
    running_[launch.trial] = std::move(running);
  } catch (const std::exception& error) {
    end(*running, TrialState::failed, error.what(), at_once_);
  }
}

void ProcessRunner::begin(Running& running) {
  ProgramTrialSeat seat;
  seat.trial = running.launch.trial;
  seat.parameters = space_.params(running.launch.config);
  seat.from = running.launch.from;
  seat.to = running.launch.to;
  for (const auto number : running.lease.numbers()) {
    const auto& share = shares_[number % shares_.size()];
    seat.cpus.insert(seat.cpus.end(), share.cpus.begin(), share.cpus.end());
    seat.gpus.insert(seat.gpus.end(), share.gpus.begin(), share.gpus.end());
  }
  running.held.reset();
  running.trial = std::make_unique<ProgramTrial>(plan_, seat, clock_.now());
}

void ProcessRunner::answer(hpo::TrialId trial, const hpo::Verdict& verdict) {
  const auto found = running_.find(trial);
  if (found == running_.end() || found->second->fate != Running::Fate::undecided) {
    return;
  }
  auto& running = *found->second;
  if (verdict.decision == Decision::keep_going) {
    running.launch.from = std::max(running.launch.from, std::min(running.launch.to, verdict.to));
    running.launch.to = verdict.to;
    if (!running.trial) {  // it waited at its target: start it again, with a new one
      try {
        begin(running);
      } catch (const std::exception& error) {
        end(running, TrialState::failed, error.what(), at_once_);
        running_.erase(found);
      }
    }
    return;
  }
  running.fate = Running::Fate::answered;
  if (!running.trial) {
    running_.erase(found);  // and the lease with it
  } else {
    running.trial->stop(clock_.now());
  }
}

void ProcessRunner::suspend() {
  for (auto& [trial, running] : running_) {
    if (running->fate == Running::Fate::undecided) {
      running->fate = Running::Fate::suspended;
    }
    if (running->trial) {
      running->trial->stop(clock_.now());
    }
  }
}

std::vector<TrialEvent> ProcessRunner::poll(Monotonic deadline) {
  for (;;) {
    std::vector<TrialEvent> events = std::exchange(at_once_, {});
    for (auto entry = running_.begin(); entry != running_.end();) {
      auto& running = *entry->second;
      advance(running, events);
      const bool over = !running.trial && running.fate != Running::Fate::undecided;
      entry = over ? running_.erase(entry) : std::next(entry);
    }
    std::uint64_t woken = 0;
    const bool was_woken = ::read(wake_.get(), &woken, sizeof woken) > 0;
    if (!events.empty() || was_woken || clock_.now() >= deadline) {
      return events;
    }
    wait(deadline);
  }
}

void ProcessRunner::wait(Monotonic deadline) {
  constexpr auto at_most =
      std::chrono::milliseconds(100);  // limits, and files of metrics, are looked at this often
  std::vector<pollfd> waits{{wake_.get(), POLLIN, 0}};
  for (const auto& [trial, running] : running_) {
    if (running->trial) {
      running->trial->add_descriptors(waits);
    }
  }
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - clock_.now());
  const bool idle = waits.size() == 1;
  const auto patience = idle ? std::chrono::milliseconds(1000) : at_most;
  ::poll(waits.data(), waits.size(),
         static_cast<int>(std::clamp(left, std::chrono::milliseconds(0), patience).count()));
}

void ProcessRunner::wake() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(wake_.get(), &one, sizeof one);
}

void ProcessRunner::advance(Running& running, std::vector<TrialEvent>& events) {
  if (!running.trial) {
    if (running.fate == Running::Fate::suspended) {  // it stood at its target, saved
      end(running, TrialState::preempted, "saved its state", events);
    }
    return;
  }
  std::vector<TrialReading> readings;
  const auto ending = running.trial->advance(clock_.now(), readings);
  for (auto& reading : readings) {
    if (running.fate != Running::Fate::undecided) {
      break;  // what is printed after the answer belongs to nobody
    }
    if (told_how_far() && reading.resource <= running.launch.from) {
      continue;  // done again after a crash: reported before
    }
    if (told_how_far() && reading.resource >= running.launch.to) {
      running.held = std::move(reading);
    } else {
      events.push_back(report(running, reading));
    }
  }
  if (ending) {
    finish(running, *ending, events);
  }
}

TrialEvent ProcessRunner::report(Running& running, const TrialReading& reading) {
  TrialEvent event;
  event.trial = running.launch.trial;
  event.kind = TrialEvent::Kind::report;
  event.resource = reading.resource;
  event.value = reading.value;
  event.metrics = reading.others;
  const auto now = clock_.now();
  event.seconds = std::chrono::duration<double>(now - std::exchange(running.spoke, now)).count();
  return event;
}

void ProcessRunner::finish(Running& running, const TrialEnding& ending,
                           std::vector<TrialEvent>& events) {
  using enum TrialEnding::Kind;
  const auto trial = std::exchange(running.trial, nullptr);
  if (running.fate == Running::Fate::answered) {
    return;
  }
  if (running.fate == Running::Fate::suspended && ending.kind != too_large) {
    end(running, TrialState::preempted,
        ending.kind == saved ? ending.reason : "ended by a preemption", events);
  } else if (ending.kind == saved) {
    end(running, TrialState::preempted, ending.reason, events);
  } else if (ending.kind == too_large) {
    const bool again =
        ++evictions_[running.launch.trial] < 2;  // it may have had bad neighbours once
    end(running, again ? TrialState::evicted : TrialState::failed, ending.reason, events);
  } else if (ending.kind == failed) {
    write_file_atomically(trial->directory() / "failure", ending.reason + "\n");
    end(running, TrialState::failed, ending.reason, events);
  } else if (!trial->last_value()) {
    const auto complaints = trial->complaints();
    end(running, TrialState::failed,
        fmt::format("ended without a value of {}{}{}", plan_.objective,
                    complaints.empty() ? "" : ": ", join(complaints, "; ")),
        events);
  } else if (told_how_far() && running.launch.to != hpo::no_limit) {
    TrialReading last = running.held.value_or(
        TrialReading{.value = *trial->last_value(), .resource = 0, .others = {}});
    last.resource = running.launch.to;
    events.push_back(report(running, last));  // and waits for the answer, its checkpoint complete
  } else {
    end(running, TrialState::complete, "", events);
    events.back().value = trial->last_value();
  }
}

void ProcessRunner::end(Running& running, TrialState state, std::string reason,
                        std::vector<TrialEvent>& events) {
  TrialEvent event;
  event.trial = running.launch.trial;
  event.kind = TrialEvent::Kind::ended;
  event.state = state;
  event.reason = std::move(reason);
  event.seconds = std::chrono::duration<double>(clock_.now() - running.spoke).count();
  events.push_back(std::move(event));
  running.fate = Running::Fate::answered;
  running.lease.give_back();
}

}  // namespace muster
