// SPDX-License-Identifier: Apache-2.0
#include "launcher/supervise/attempt.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <cstring>

#include "launcher/supervise/run_status.h"
#include "launcher/supervise/stack_dumps.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/log.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

constexpr auto look_every = std::chrono::milliseconds(200);

Monotonic now() {
  return std::chrono::steady_clock::now();
}

bool says_saved(const Ended& ended) {
  const auto code = ended.code();
  return code == exit_saved || code == exit_stopped;
}

}  // namespace

std::uint64_t newest_checkpoint_step(const Path& checkpoints) {
  constexpr std::string_view prefix = "step-";
  std::uint64_t newest = 0;
  for (const auto& name : posix_file_system().list(checkpoints)) {
    if (!name.starts_with(prefix)) {
      continue;
    }
    const auto parts = split(std::string_view(name).substr(prefix.size()), '.');
    const bool committed = parts.size() == 1 || (parts.size() == 2 && parse_int(parts[1]));
    const auto step = committed ? parse_int(parts[0]) : std::nullopt;
    if (step &&
        *step > 0) {  // "step-00000900", saved again "step-00000900.2"; a torn one has words
      newest = std::max(newest, static_cast<std::uint64_t>(*step));
    }
  }
  return newest;
}

Attempt::Attempt(const AttemptOptions& options, RankGroup& group, int ranks, RankLogs& logs)
    : options_(options),
      group_(group),
      logs_(logs),
      alive_(static_cast<std::size_t>(ranks), true),
      hangs_(ranks, options.hang_after) {
  checkpoint_at_start_ = files_checkpoint_ = seen_checkpoint_ =
      newest_checkpoint_step(options_.files.checkpoints());
  const auto metrics = last_metrics(options_.files.metrics());
  files_step_ = first_seen_step_ = metrics && metrics->step ? *metrics->step : 0;
}

RankSlot* Attempt::slot(int rank) {
  ControlPage* page = group_.page();
  return page != nullptr && rank >= 0 && rank < page->slots() ? &page->slot(rank) : nullptr;
}

std::uint64_t Attempt::step() const {
  ControlPage* page = group_.page();
  std::uint64_t step = page == nullptr ? files_step_ : page->slot(0).step.load();
  if (page != nullptr && page->slot(0).pid == 0) {
    return files_step_;  // a program that does not know the page
  }
  return step;
}

std::uint64_t Attempt::checkpoint() const {
  ControlPage* page = group_.page();
  const std::uint64_t on_page = page == nullptr ? 0 : page->header().last_checkpoint_step.load();
  return std::max(on_page, files_checkpoint_);
}

const char* Attempt::state() const {
  ControlPage* page = group_.page();
  const auto phase = page == nullptr ? Phase::starting : page->slot(0).phase.load();
  if (phase == Phase::finishing || phase == Phase::finished) {
    return state::uploading;
  }
  if (!options_.speaks_page) {
    return state::training;  // what any program is at, nobody knows
  }
  if (first_step_) {
    return state::training;
  }
  return phase == Phase::starting ? state::starting : state::downloading;
}

bool Attempt::turn(std::chrono::milliseconds at_most, int wake) {
  std::vector<RankEvent> events;
  group_.poll(at_most, wake, events);
  for (const auto& event : events) {
    take(event);
  }
  if (now() >= next_look_) {
    next_look_ = now() + (first_step_ ? look_every : look_every / 10);
    look_for_progress();
    look_for_hang();
  }
  enforce_deadlines();
  return group_.running();
}

void Attempt::take(const RankEvent& event) {
  if (event.kind == RankEvent::Kind::ended) {
    took_end(event);
  } else {
    logs_.line(event, std::chrono::system_clock::now());
  }
}

bool Attempt::is_failure(const RankEvent& event) const {
  if (event.ended.finished()) {
    return false;
  }
  const auto code = event.ended.code();
  const bool left_early = code == exit_saved || code == exit_unsaved || code == exit_stopped;
  if (left_early) {
    return false;
  }
  // Any program dies of the TERM that we send it, and may well exit with a code of its own then.
  return !(notified_ && !options_.speaks_page);
}

void Attempt::took_end(const RankEvent& event) {
  if (event.rank < 0 || event.rank >= static_cast<int>(alive_.size())) {
    return;
  }
  alive_[static_cast<std::size_t>(event.rank)] = false;
  ends_[event.rank] = event.ended;
  files_step_ = std::max(files_step_, event.step);
  if (!is_failure(event)) {
    return;
  }
  auto fault = fault_of_rank(event.rank, slot(event.rank), event.ended, monotonic_ns());
  fault.host = event.host;
  if (event.time_ns != 0) {  // an attendant has looked
    fault.step = event.step;
    fault.time_ns = event.time_ns;
    fault.operation = event.operation;
  }
  if (event.ended.exec_error != 0) {
    fault.text = fmt::format("could not start {}: {}", options_.program,
                             std::strerror(event.ended.exec_error));
  }
  if (!event.cause.empty()) {
    fault.recorded = true;
    fault.text = event.cause;
    fault.fault = event.fault;
    const Path stacks = options_.files.logs() / fmt::format("stacks-rank-{}.txt", event.rank);
    if (event.cause.find(") hangs: ") != std::string::npos && posix_file_system().exists(stacks)) {
      fault.stacks = stacks.string();
    }
  }
  fault.killed_by_us = killed_ && event.ended.signal() == SIGKILL && !fault.recorded;
  faults_.push_back(std::move(fault));
  if (!kill_at_) {
    kill_at_ = now() + options_.last_words;
    if (ControlPage* page = group_.page(); page != nullptr && page->header().aborted == 0) {
      page->header().aborted =
          1U + static_cast<std::uint32_t>(event.rank);  // the others leave their waits
    }
    if (!options_.speaks_page) {
      group_.signal(SIGTERM);
    }
  }
}

void Attempt::look_for_progress() {
  if (group_.page() == nullptr || group_.page()->slot(0).pid == 0) {
    const auto metrics = last_metrics(options_.files.metrics());
    files_step_ = metrics && metrics->step ? *metrics->step : files_step_;
    files_checkpoint_ =
        std::max(files_checkpoint_, newest_checkpoint_step(options_.files.checkpoints()));
  }
  // What the metrics said before the ranks cut them at the checkpoint is no step of this attempt.
  const bool moved = step() != first_seen_step_ && step() > checkpoint_at_start_;
  if (!first_step_ && (moved || checkpoint() > checkpoint_at_start_)) {
    first_step_ = now();
  }
  if (checkpoint() > seen_checkpoint_) {
    seen_checkpoint_ = checkpoint();
    last_checkpoint_ = now();
  }
}

void Attempt::look_for_hang() {
  ControlPage* page = group_.page();
  if (page == nullptr || hung_ || killed_ || kill_at_) {
    return;
  }
  const auto hang = hangs_.tick(*page, alive_, now());
  if (!hang) {
    return;
  }
  hung_ = true;
  log::error(hang->text);
  log::info("asking every rank where it is");
  std::vector<pid_t> pids;
  for (std::size_t rank = 0; rank < alive_.size(); ++rank) {
    if (const pid_t pid = group_.pid_of(static_cast<int>(rank)); pid > 0) {
      pids.push_back(pid);
    }
  }
  const Path file = options_.files.logs() / fmt::format("stacks-{}.txt", options_.number);
  std::string stacks;
  try {
    write_file_atomically(file, hang->text + "\n\n" + stack_dumps(pids));
    log::info(fmt::format("their stacks are in {}", file.string()));
    stacks = file.string();
  } catch (const std::exception& error) {
    log::warning(fmt::format("no stacks: {}", error.what()));
  }
  RankFault fault =
      fault_of_rank(hang->local_rank, &page->slot(hang->local_rank), std::nullopt, monotonic_ns());
  fault.recorded = true;
  fault.fault = Fault::io;
  fault.text = hang->text;
  fault.stacks = stacks;
  faults_.push_back(std::move(fault));
  killed_ = true;
  group_.kill();
}

void Attempt::notify(const NoticeEvent& notice) {
  const auto limit = notice.deadline.value_or(now() + options_.grace);
  deadline_ = deadline_ ? std::min(*deadline_, limit) : limit;
  if (ControlPage* page = group_.page()) {
    auto& header = page->header();
    if (notice.deadline) {
      const auto ns =
          std::chrono::duration_cast<Nanoseconds>(notice.deadline->time_since_epoch()).count();
      const auto before = header.deadline_ns.load();
      header.deadline_ns = before == 0 ? ns : std::min<std::int64_t>(before, ns);
    }
    const auto before = header.notice.load();
    const bool on_purpose = notice.reason == Notice::stopped ||
                            notice.reason == Notice::interrupted ||
                            notice.reason == Notice::time_limit;
    if (before == Notice::none || on_purpose) {
      header.notice = notice.reason;
    }
  }
  if (group_.page() == nullptr && notice.deadline) {
    group_.tell_deadline(*deadline_);
  }
  if (notified_) {
    return;
  }
  notified_ = true;
  if (!options_.speaks_page) {
    group_.signal(SIGTERM);
  } else if (group_.page() == nullptr) {
    group_.signal(SIGUSR1);
  }
}

void Attempt::hint() {
  if (ControlPage* page = group_.page()) {
    ++page->header().checkpoint_hint;
  } else if (options_.speaks_page) {
    group_.signal(SIGCONT);
  }
}

void Attempt::leave_at_once() {
  notified_ = true;
  killed_ = true;
  group_.kill();
}

void Attempt::enforce_deadlines() {
  const bool failed_long_ago = kill_at_ && now() >= *kill_at_;
  const bool out_of_time = notified_ && deadline_ && now() >= *deadline_;
  if (killed_ || (!failed_long_ago && !out_of_time)) {
    return;
  }
  if (out_of_time && group_.running()) {
    log::warning("the time to save is over: ending the ranks as they are");
  }
  killed_ = true;
  group_.kill();
}

AttemptOutcome Attempt::outcome() {
  look_for_progress();
  // One that became durable as the ranks died is on nobody's page.
  files_checkpoint_ =
      std::max(files_checkpoint_, newest_checkpoint_step(options_.files.checkpoints()));
  AttemptOutcome outcome;
  outcome.step = step();
  outcome.checkpoint = checkpoint();
  outcome.first_step = first_step_;
  outcome.last_checkpoint = last_checkpoint_;
  const bool all_fine =
      ends_.size() == alive_.size() &&
      std::ranges::all_of(ends_, [](const auto& end) { return end.second.finished(); });
  const bool left_early = std::ranges::any_of(ends_, [](const auto& end) {
    const auto code = end.second.code();
    return code == exit_saved || code == exit_unsaved || code == exit_stopped;
  });
  if (all_fine && (options_.speaks_page || !notified_)) {
    outcome.kind = AttemptOutcome::Kind::finished;
    outcome.step = std::max(outcome.step, outcome.checkpoint);
    return outcome;
  }
  outcome.fault = first_fault(faults_);
  const bool real_fault = outcome.fault && !outcome.fault->first.killed_by_us;
  if ((notified_ || left_early) && !real_fault) {
    outcome.kind = AttemptOutcome::Kind::drained;
    outcome.on_purpose = std::ranges::any_of(
        ends_, [](const auto& end) { return end.second.code() == exit_stopped; });
    const bool says =
        ends_.size() == alive_.size() && std::ranges::all_of(ends_, [](const auto& end) {
          return says_saved(end.second) || end.second.finished();
        });
    outcome.saved = says && (options_.speaks_page ||
                             !posix_file_system().list(options_.files.checkpoints()).empty());
    if (outcome.saved) {  // across hosts the last steps were on nobody's page that we see
      outcome.step = std::max(outcome.step, outcome.checkpoint);
    }
    return outcome;
  }
  if (!outcome.fault) {
    RankFault fault;
    fault.text = "ended without saying why";
    outcome.fault = FaultReport{fault, 0};
  }
  outcome.user_error = std::ranges::any_of(ends_, [](const auto& end) {
    return end.second.code() == exit_usage || end.second.exec_error != 0;
  });
  return outcome;
}

}  // namespace muster
