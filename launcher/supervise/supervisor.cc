// SPDX-License-Identifier: Apache-2.0
#include "launcher/supervise/supervisor.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "runtime/base/exit_codes.h"
#include "runtime/base/log.h"
#include "runtime/base/stop_signals.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

constexpr auto turn_length = std::chrono::milliseconds(100);

double seconds(Nanoseconds duration) {
  return std::chrono::duration<double>(duration).count();
}
Monotonic now() {
  return std::chrono::steady_clock::now();
}
WallTime wall() {
  return std::chrono::system_clock::now();
}

/// `muster stop` and others leave a file here; what was left before this start is not meant for it.
void clear_control(const Path& control) {
  posix_file_system().remove(control);
  posix_file_system().make_directory(control);
}

}  // namespace

Mailbox::Mailbox() : wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

void Mailbox::ring() noexcept {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(wake_.get(), &one, sizeof one);
}

void Mailbox::signal(int signal) {
  {
    const std::lock_guard lock(mutex_);
    content_.signals.push_back(signal);
  }
  ring();
}

void Mailbox::notice(const NoticeEvent& notice) {
  {
    const std::lock_guard lock(mutex_);
    content_.notices.push_back(notice);
  }
  ring();
}

Mailbox::Content Mailbox::take() {
  std::uint64_t count = 0;
  [[maybe_unused]] const auto got = ::read(wake_.get(), &count, sizeof count);
  const std::lock_guard lock(mutex_);
  return std::exchange(content_, {});
}

Supervisor::Supervisor(RunPlan plan, Mailbox& mailbox)
    : plan_(std::move(plan)), mailbox_(mailbox), policy_(plan_.restarts) {}

int Supervisor::run() {
  lock_ = std::make_unique<OwnerLock>(plan_.files.root, clock_,
                                      [](const std::string& text) { log::warning(text); });
  if (const auto before = read_file_if_there(plan_.files.status())) {
    status_ = status_from_json(*before, plan_.files.status().string());
  }
  status_.name = plan_.name;
  status_.ranks = plan_.launch.ranks;
  status_.engine = plan_.engine->name();
  status_.host = this_host();
  status_.pid = ::getpid();
  status_.slurm_job = plan_.slurm_job;
  status_.exit_code.reset();
  status_.failure.clear();
  posix_file_system().remove(plan_.files.failure());
  plan_.launch.excluded_hosts = status_.excluded_hosts;
  seconds_before_ = status_.run_seconds;
  if (std::ranges::any_of(status_.transitions,
                          [](const Transition& one) { return one.status == state::starting; })) {
    ++status_.restarts;
  }
  clear_control(plan_.files.control());
  logs_ = std::make_unique<RankLogs>(plan_.files, plan_.console);
  started_ = now();
  if (plan_.max_runtime) {
    const double left = *plan_.max_runtime - seconds_before_;
    if (left <= 0) {
      return finish(exit_stopped, state::max_runtime,
                    fmt::format("max_runtime of {:.0f} s was spent before this start: give it more",
                                *plan_.max_runtime));
    }
    plan_.notices.push_back(
        budget_notice(std::chrono::milliseconds(static_cast<std::int64_t>(left * 1000)), started_));
  }
  plan_.notices.push_back(file_notice(plan_.files.control() / "stop", Notice::stopped));
  plan_.notices.push_back(file_notice(plan_.files.control() / "drain", Notice::file));
  watch_ =
      std::make_unique<NoticeWatch>(std::move(plan_.notices), std::chrono::milliseconds(250),
                                    [this](const NoticeEvent& event) { mailbox_.notice(event); });
  const int code = run_attempts();
  watch_.reset();
  return code;
}

int Supervisor::run_attempts() {
  for (;;) {
    const auto begin = now();
    const auto outcome = one_attempt();
    account(outcome, begin, now());
    switch (outcome.kind) {
      case AttemptOutcome::Kind::finished:
        status_.failure.clear();  // what was overcome is in the log and in the restarts
        posix_file_system().remove(plan_.files.failure());
        return finish(exit_finished, state::completed,
                      fmt::format("finished at step {}", outcome.step));
      case AttemptOutcome::Kind::drained:
        if (leaving_ == Leaving::no && outcome.on_purpose) {
          leaving_ = Leaving::on_purpose;  // a rule of theirs (debug.action = stop) ended the run
        }
        if (leaving_ == Leaving::no && status_.engine == "slurm") {
          leaving_ = Leaving::to_continue;  // Slurm tells the ranks of a preempted job itself
        }
        if (leaving_ == Leaving::no) {  // somebody told the ranks themselves, not us
          enter(state::interrupted,
                "the ranks were told to leave, not this program: starting them again");
          ++status_.restarts;
          continue;
        }
        return end_drained(outcome);
      case AttemptOutcome::Kind::failed:
        if (const auto code = end_failed(outcome)) {
          return *code;
        }
    }
  }
}

AttemptOutcome Supervisor::one_attempt() {
  ++plan_.attempt.number;
  const auto checkpoint = newest_checkpoint_step(plan_.files.checkpoints());
  enter(state::starting, fmt::format("starting {} ranks", plan_.launch.ranks));
  log::info(plan_.engine->plan(plan_.launch));
  if (status_.restarts > 0) {
    const std::string text =
        checkpoint > 0 ? fmt::format("resumed at step {}, restart {}", checkpoint, status_.restarts)
                       : fmt::format("started from the beginning, restart {}", status_.restarts);
    log::info(text);
    logs_->mark(text, plan_.launch.ranks, wall());
  }
  const auto group = plan_.engine->start(plan_.launch);
  Attempt attempt(plan_.attempt, *group, plan_.launch.ranks, *logs_);
  if (pending_) {
    attempt.notify(*pending_);
  }
  bool stepped = false;
  do {
    handle_mail(&attempt);
    show_progress(attempt);
    if (!stepped && attempt.stepped()) {
      stepped = true;
      enter(state::training, "");
    }
  } while (attempt.turn(turn_length, mailbox_.wake_descriptor()));
  return attempt.outcome();
}

void Supervisor::handle_mail(Attempt* attempt) {
  auto mail = mailbox_.take();
  for (const int signal : mail.signals) {
    on_signal(signal, attempt);
  }
  for (auto& notice : mail.notices) {
    on_notice(std::move(notice), attempt);
  }
}

void Supervisor::on_signal(int signal, Attempt* attempt) {
  if (signal == SIGCONT) {
    watch_->ask_now();  // Slurm sends it when it moves the end of a job
    if (attempt != nullptr) {
      attempt->hint();
    }
    return;
  }
  if (signal == SIGINT) {
    if (leaving_ != Leaving::no) {
      log::warning("a second Ctrl-C: leaving at once, the last checkpoint stands");
      at_once_ = true;
      if (attempt != nullptr) {
        attempt->leave_at_once();
      }
      return;
    }
    on_notice({Notice::interrupted, std::nullopt, "Ctrl-C (again: leave at once)"}, attempt);
    return;
  }
  watch_->ask_now();
  on_notice({Notice::preempted, std::nullopt, signal_name(signal)}, attempt);
}

void Supervisor::on_notice(NoticeEvent notice, Attempt* attempt) {
  if (notice.hint_only) {
    log::info(notice.text + ": saving a checkpoint and going on");
    if (attempt != nullptr) {
      attempt->hint();
    }
    return;
  }
  const bool on_purpose = notice.reason == Notice::interrupted || notice.reason == Notice::stopped;
  if (leaving_ == Leaving::no) {
    std::string text = notice.text + ": saving, then leaving";
    if (notice.deadline) {
      text += fmt::format(" within {}", human_duration(*notice.deadline - now()));
    }
    log::info(text);
    enter(state::interrupted, notice.text);
  }
  if (on_purpose) {
    leaving_ = Leaving::on_purpose;
  } else if (notice.reason == Notice::time_limit && leaving_ != Leaving::on_purpose) {
    leaving_ = Leaving::out_of_time;
  } else if (leaving_ == Leaving::no) {
    leaving_ = Leaving::to_continue;
  }
  pending_ = notice;
  if (attempt != nullptr) {
    attempt->notify(notice);
  }
}

bool Supervisor::wait_before_restart(std::chrono::milliseconds wait) {
  const auto until = now() + wait;
  for (;;) {
    handle_mail(nullptr);
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - now());
    if (leaving_ != Leaving::no || left.count() <= 0) {
      return leaving_ == Leaving::no;
    }
    pollfd wake{mailbox_.wake_descriptor(), POLLIN, 0};
    ::poll(&wake, 1, static_cast<int>(std::min(left, turn_length).count()));
  }
}

void Supervisor::account(const AttemptOutcome& outcome, Monotonic begin, Monotonic end) {
  status_.step = std::max(outcome.step, outcome.checkpoint);
  status_.checkpoint_step = outcome.checkpoint;
  status_.run_seconds = seconds_before_ + seconds(end - started_);
  status_.lost_seconds += seconds(outcome.first_step.value_or(end) - begin);  // starting
  const bool saved = outcome.kind == AttemptOutcome::Kind::finished ||
                     (outcome.kind == AttemptOutcome::Kind::drained && outcome.saved);
  if (!saved && outcome.first_step) {  // what has to be done again
    status_.lost_seconds +=
        seconds(end - std::max(*outcome.first_step, outcome.last_checkpoint.value_or(begin)));
  }
}

int Supervisor::end_drained(const AttemptOutcome& outcome) {
  const std::string where = outcome.checkpoint > 0
                                ? fmt::format("the checkpoint of step {}", outcome.checkpoint)
                                : "no checkpoint yet";
  if (at_once_ || !outcome.saved) {
    const std::string text = fmt::format("stopped before the state was saved; {} stands", where);
    return finish(exit_unsaved,
                  leaving_ == Leaving::to_continue ? state::interrupted : state::stopped, text);
  }
  if (leaving_ == Leaving::out_of_time) {
    return finish(exit_stopped, state::max_runtime,
                  fmt::format("max_runtime is spent; saved at step {}", outcome.step));
  }
  if (leaving_ == Leaving::on_purpose) {
    return finish(exit_stopped, state::stopped,
                  fmt::format("stopped on purpose; saved at step {}; the same command continues",
                              outcome.step));
  }
  return finish(exit_saved, state::interrupted,
                fmt::format("saved at step {}; the same command continues", outcome.step));
}

std::optional<int> Supervisor::end_failed(const AttemptOutcome& outcome) {
  const auto& report = *outcome.fault;
  log::error(report.sentence());
  write_failure(report);
  if (leaving_ != Leaving::no) {
    return finish(exit_unsaved,
                  leaving_ == Leaving::to_continue ? state::interrupted : state::stopped,
                  "failed while leaving; " + report.sentence());
  }
  Failure failure;
  failure.fault = report.first.fault;
  failure.user_error = outcome.user_error;
  failure.last_step = outcome.first_step ? outcome.step : 0;
  failure.checkpoint = outcome.checkpoint;
  failure.host = report.first.host;
  const auto decision = policy_.on_failure(failure, now());
  log::info(decision.why);
  if (decision.exclude) {
    leave_out(*decision.exclude);
  }
  if (decision.again && wait_before_restart(decision.wait)) {
    ++status_.restarts;
    return std::nullopt;
  }
  if (leaving_ != Leaving::no) {
    return finish(exit_unsaved,
                  leaving_ == Leaving::to_continue ? state::interrupted : state::stopped,
                  "told to leave while waiting to start again");
  }
  const bool users = outcome.user_error || report.first.fault == Fault::bad_input;
  const int code = finish(users ? exit_usage : exit_failed, state::failed, report.sentence());
  std::string ending = fmt::format("\nThe last lines of rank {}:\n", report.first.rank);
  for (const auto& line : logs_->tail(report.first.rank)) {
    ending += "  " + line + "\n";
  }
  ending += fmt::format("{} failed: {}\n{}\n", plan_.name, report.sentence(),
                        remedy_for(report, plan_.files.rank_log(report.first.rank).string()));
  [[maybe_unused]] const auto put = ::write(STDERR_FILENO, ending.data(), ending.size());
  return code;
}

void Supervisor::write_failure(const FaultReport& report) {
  status_.failure = report.sentence();
  try {
    write_file_atomically(
        plan_.files.failure(),
        report.file_text(logs_->tail(report.first.rank),
                         remedy_for(report, plan_.files.rank_log(report.first.rank).string())));
  } catch (const std::exception& error) {
    log::warning(fmt::format("cannot write {}: {}", plan_.files.failure().string(), error.what()));
  }
}

void Supervisor::leave_out(const std::string& host) {
  auto& excluded = plan_.launch.excluded_hosts;
  if (std::ranges::find(excluded, host) != excluded.end()) {
    return;
  }
  excluded.push_back(host);
  status_.excluded_hosts = excluded;
  log::warning(fmt::format("host {} failed {} times: leaving it out from now on", host,
                           plan_.restarts.host_failures));
  // For the batch script, which tells Slurm when it requeues the job.
  write_file_atomically(plan_.files.root / "exclude", join(excluded, ",") + "\n");
  int slots = 0;
  for (const auto& one : plan_.launch.hosts) {
    slots += std::ranges::find(excluded, one.name) == excluded.end() ? std::max(one.slots, 1) : 0;
  }
  if (!plan_.launch.hosts.empty() && slots < plan_.launch.ranks && plan_.min_ranks > 0 &&
      slots >= plan_.min_ranks) {
    log::warning(fmt::format("going on with {} ranks instead of {} (min_ranks = {})", slots,
                             plan_.launch.ranks, plan_.min_ranks));
    plan_.launch.ranks = status_.ranks = slots;
  }
}

void Supervisor::show_progress(const Attempt& attempt) {
  if (now() >= next_status_) {
    next_status_ = now() + std::chrono::seconds(1);
    status_.step = attempt.step();
    status_.checkpoint_step = attempt.checkpoint();
    status_.run_seconds = seconds_before_ + seconds(now() - started_);
    if (const auto metrics = last_metrics(plan_.files.metrics())) {
      status_.epoch = metrics->epoch;
      status_.metrics = metrics->values;
    }
    save_status();
  }
}

void Supervisor::enter(const char* state, const std::string& message) {
  status_.enter(state, message, wall());
  save_status();
}

void Supervisor::save_status() {
  try {
    write_file_atomically(plan_.files.status(), to_json(status_));
  } catch (
      const std::exception& error) {  // a full disk: the ranks may still be able to save elsewhere
    log::warning(fmt::format("cannot write the status: {}", error.what()));
  }
}

int Supervisor::finish(int code, const char* state, const std::string& message) {
  if (const auto metrics = last_metrics(plan_.files.metrics())) {
    status_.epoch = metrics->epoch;
    status_.metrics = metrics->values;
  }
  if (started_ != Monotonic{}) {
    status_.run_seconds = seconds_before_ + seconds(now() - started_);
  }
  status_.exit_code = code;
  if (status_.state() == state) {
    status_.transitions.back().message = message;
  }
  enter(state, message);
  if (state != state::failed) {
    log::info(fmt::format("{}: {}", plan_.name, message));
  }
  lock_->release();
  return code;
}

}  // namespace muster
