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
#include "runtime/base/text.h"

namespace muster {

using hpo::Decision;
using hpo::TrialEvent;
using hpo::TrialState;

struct WorkerRunner::Worker {
  std::size_t index = 0;
  std::unique_ptr<Process> process;
  Descriptor input;  ///< what we say to it
  LineReader output{Descriptor()};
  LineReader error{Descriptor()};
  std::string unsent;
  std::string last_words;
};

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

WorkerRunner::WorkerRunner(WorkerPlan plan, const hpo::Space& space, Clock& clock)
    : plan_(std::move(plan)),
      space_(space),
      clock_(clock),
      slots_(plan_.cpus.size() * plan_.slots_each),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  require(slots_.count() > 0, "a sweep needs at least one worker with one slot");
  if (!wake_) {
    throw_errno("make an event for the runner", errno);
  }
  log_ = posix_file_system().open(plan_.log, OpenMode::append);
  for (std::size_t index = 0; index < plan_.cpus.size(); ++index) {
    workers_.push_back(std::make_unique<Worker>());
    workers_.back()->index = index;
    start_worker(*workers_.back());
  }
}

WorkerRunner::~WorkerRunner() = default;

void WorkerRunner::start_worker(Worker& worker) {
  Pipe input = input_pipe();
  Pipe output = output_pipe();
  Pipe error = output_pipe();
  ProcessSpec spec;
  spec.command = plan_.command;
  spec.environment = plan_.environment;
  spec.cpus = plan_.cpus[worker.index];
  spec.input = input.theirs.get();
  spec.output = output.theirs.get();
  spec.error = error.theirs.get();
  worker.process = std::make_unique<Process>(Process::start(spec));
  worker.input = std::move(input.ours);
  worker.output = LineReader(std::move(output.ours));
  worker.error = LineReader(std::move(error.ours));
  worker.unsent.clear();
}

void WorkerRunner::send(Worker& worker, const WorkerOrder& order) {
  worker.unsent += line_of(order);
  flush(worker);
}

/// A worker that has died is found by its end, not by a broken pipe.
void WorkerRunner::flush(Worker& worker) {
  while (!worker.unsent.empty() && worker.input) {
    const auto put = ::write(worker.input.get(), worker.unsent.data(), worker.unsent.size());
    if (put < 0 && errno == EINTR) {
      continue;
    }
    if (put < 0) {
      return;
    }
    worker.unsent.erase(0, static_cast<std::size_t>(put));
  }
}

void WorkerRunner::start(const hpo::Launch& launch, hpo::SlotLease lease) {
  const std::size_t index = lease.numbers().front() / plan_.slots_each;
  WorkerOrder order;
  order.kind = WorkerOrder::Kind::start;
  order.trial = launch.trial;
  order.parameters = space_.params(launch.config);
  order.from = launch.from;
  order.to = launch.to;
  running_[launch.trial] = {.worker = index, .lease = std::move(lease), .is_answered = false};
  send(*workers_[index], order);
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
  send(*workers_[found->second.worker], order);
}

void WorkerRunner::suspend() {
  suspending_ = true;
  for (auto& worker : workers_) {
    WorkerOrder order;
    order.kind = WorkerOrder::Kind::suspend;
    send(*worker, order);
  }
}

std::vector<TrialEvent> WorkerRunner::poll(Monotonic deadline) {
  for (;;) {
    std::vector<TrialEvent> events;
    for (auto& worker : workers_) {
      const auto over = worker->process ? worker->process->poll() : std::nullopt;
      flush(*worker);
      read(*worker, events);  // after asking: last words come before the end
      if (over) {
        bury(worker->index, *over, events);
      }
    }
    std::uint64_t woken = 0;
    const bool was_woken = ::read(wake_.get(), &woken, sizeof woken) > 0;
    if (!events.empty() || was_woken || clock_.now() >= deadline) {
      return events;
    }
    wait(deadline);
  }
}

void WorkerRunner::wait(Monotonic deadline) {
  std::vector<pollfd> waits{{wake_.get(), POLLIN, 0}};
  for (const auto& worker : workers_) {
    if (!worker->process) {
      continue;
    }
    waits.push_back({worker->process->descriptor(), POLLIN, 0});
    waits.push_back({worker->output.descriptor(), POLLIN, 0});
    waits.push_back({worker->error.descriptor(), POLLIN, 0});
    waits.push_back({worker->unsent.empty() ? -1 : worker->input.get(), POLLOUT, 0});
  }
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - clock_.now());
  constexpr std::chrono::milliseconds longest(1000);
  ::poll(waits.data(), waits.size(),
         static_cast<int>(std::clamp(left, std::chrono::milliseconds(0), longest).count()));
}

void WorkerRunner::wake() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(wake_.get(), &one, sizeof one);
}

void WorkerRunner::read(Worker& worker, std::vector<TrialEvent>& events) {
  std::vector<std::string> lines;
  worker.output.read(lines);
  for (const auto& line : lines) {
    if (!line.empty() && line.front() == '{') {
      take(event_from(line), events);
    }
  }
  lines.clear();
  worker.error.read(lines);
  if (!lines.empty()) {
    worker.last_words = lines.back();
    log_->append(as_bytes(join(lines, "\n") + "\n"));
  }
}

void WorkerRunner::take(const WorkerEvent& said, std::vector<TrialEvent>& events) {
  using enum WorkerEvent::Kind;
  if (said.kind == remark) {
    log::warning(said.trial == 0 ? said.reason
                                 : fmt::format("trial {}: {}", said.trial, said.reason));
    return;
  }
  const auto found = running_.find(said.trial);
  if (found == running_.end() || said.kind == ready) {
    return;
  }
  if (said.kind == idle) {
    running_.erase(found);  // and the lease goes back
    return;
  }
  TrialEvent event;
  event.trial = said.trial;
  event.seconds = said.seconds;
  if (said.kind == report) {
    deaths_ = 0;
    if (found->second.is_answered) {
      return;  // on its way when the answer was given
    }
    event.resource = said.resource;
    event.value = said.value;
    event.metrics = said.metrics;
    events.push_back(std::move(event));
    return;
  }
  const bool was_answered = found->second.is_answered;
  running_.erase(found);
  if (was_answered) {
    return;
  }
  event.kind = TrialEvent::Kind::ended;
  event.state = hpo::trial_state(said.state).value_or(TrialState::failed);
  event.reason = said.reason;
  event.value = said.final_value;
  events.push_back(std::move(event));
}

void WorkerRunner::bury(std::size_t index, const Ended& how, std::vector<TrialEvent>& events) {
  auto& worker = *workers_[index];
  worker.process.reset();
  worker.input.reset();
  const std::string what = fmt::format("worker {} {}{}", index, how.text(),
                                       worker.last_words.empty() ? "" : ": " + worker.last_words);
  for (auto entry = running_.begin(); entry != running_.end();) {
    auto& [trial, running] = *entry;
    if (running.worker != index) {
      ++entry;
      continue;
    }
    if (!running.is_answered) {
      const bool is_blamed = !suspending_ && ++blame_[trial] >= blamed_after;
      events.push_back(
          ended(trial, is_blamed ? TrialState::failed : TrialState::preempted,
                is_blamed ? fmt::format("its worker died {} times while it ran; the last time {}",
                                        blamed_after, what)
                          : what));
    }
    entry = running_.erase(entry);
  }
  if (suspending_) {
    return;
  }
  log::warning(what + "; it is started again");
  if (how.code() == 64 || ++deaths_ >= plan_.most_deaths) {
    throw Error(how.code() == 64 ? Fault::bad_input : Fault::io,
                fmt::format("the sweep cannot go on: {}", what));
  }
  start_worker(worker);
}

}  // namespace muster
