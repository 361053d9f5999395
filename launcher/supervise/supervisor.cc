// SPDX-License-Identifier: Apache-2.0
#include "launcher/supervise/supervisor.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "launcher/supervise/back_trace.h"
#include "runtime/base/console.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/log.h"
#include "runtime/base/stop_signals.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

constexpr auto turn_length = std::chrono::milliseconds(100);

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

Supervisor::Supervisor(RunPlan plan, Mailbox& mailbox)
    : plan_(std::move(plan)),
      mailbox_(mailbox),
      policy_(plan_.restarts),
      roster_(plan_.launch.hosts, plan_.launch.ranks, plan_.min_ranks) {}

int Supervisor::run() {
  record_ = std::make_unique<RunRecord>(plan_.files);
  describe_run();
  clear_control(plan_.files.control());
  logs_ = std::make_unique<RankLogs>(plan_.files, plan_.console, plan_.on_line);
  if (plan_.max_runtime && *plan_.max_runtime <= record_->seconds_before()) {
    return finish(exit_stopped, state::max_runtime,
                  fmt::format("max_runtime of {:.0f} s was spent before this start: give it more",
                              *plan_.max_runtime));
  }
  recall_left_out();
  watch_for_notices();
  const int code = run_attempts();
  watch_.reset();
  return code;
}

void Supervisor::describe_run() {
  auto& status = record_->status;
  status.name = plan_.name;
  status.ranks = plan_.launch.ranks;
  status.engine = plan_.engine->name();
  status.host = this_host();
  status.pid = ::getpid();
  status.slurm_job = plan_.slurm_job;
  plan_.attempt.program = plan_.launch.command.front();
}

void Supervisor::watch_for_notices() {
  auto& sources = plan_.notices;
  if (plan_.max_runtime) {
    const double left = *plan_.max_runtime - record_->seconds_before();
    sources.push_back(
        budget_notice(std::chrono::milliseconds(static_cast<std::int64_t>(left * 1000)), now()));
  }
  sources.push_back(file_notice(plan_.files.control() / "stop", Notice::stopped, "muster stop"));
  sources.push_back(file_notice(plan_.files.control() / "drain", Notice::file));
  watch_ =
      std::make_unique<NoticeWatch>(std::move(sources), std::chrono::milliseconds(250),
                                    [this](const NoticeEvent& event) { mailbox_.notice(event); });
}

int Supervisor::run_attempts() {
  for (;;) {
    const auto begin = now();
    const auto outcome = one_attempt();
    record_->account(outcome, begin, now());
    switch (outcome.kind) {
      case AttemptOutcome::Kind::finished:
        record_->forget_failure();  // what was overcome is in the log and in the restarts
        return finish(exit_finished, state::completed,
                      outcome.step > 0 ? fmt::format("finished at step {}", outcome.step)
                                       : std::string("finished"));
      case AttemptOutcome::Kind::drained:
        if (leaving_ == Leaving::no && outcome.on_purpose) {
          leaving_ = Leaving::on_purpose;  // a rule of theirs (debug.action = stop) ended the run
        }
        if (leaving_ == Leaving::no && record_->status.engine == "slurm") {
          leaving_ = Leaving::to_continue;  // Slurm tells the ranks of a preempted job itself
        }
        if (leaving_ == Leaving::no) {  // somebody told the ranks themselves, not us
          record_->enter(state::interrupted,
                         "the ranks were told to leave, not this program: starting them again");
          ++record_->status.restarts;
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

void Supervisor::say_what_starts(std::uint64_t checkpoint) {
  record_->enter(state::starting, fmt::format("starting {} rank{}", plan_.launch.ranks,
                                              plan_.launch.ranks == 1 ? "" : "s"));
  log::info(plan_.engine->plan(plan_.launch));
  const int restarts = record_->status.restarts;
  if (restarts > 0) {
    const std::string text =
        checkpoint > 0 ? fmt::format("resumed at step {}, restart {}", checkpoint, restarts)
                       : fmt::format("started from the beginning, restart {}", restarts);
    log::info(text);
    logs_->mark(text, plan_.launch.ranks, wall());
  }
}

AttemptOutcome Supervisor::one_attempt() {
  ++plan_.attempt.number;
  say_what_starts(newest_checkpoint_step(plan_.files.checkpoints()));
  plan_.launch.start = fmt::format("{}-{}-{}", this_host(), ::getpid(), plan_.attempt.number);
  const auto group = plan_.engine->start(plan_.launch);
  Attempt attempt(plan_.attempt, *group, plan_.launch.ranks, *logs_);
  if (pending_) {
    attempt.notify(*pending_);
  }
  do {
    handle_mail(&attempt);
    record_->show_progress(attempt);
    if (leaving_ == Leaving::no && record_->status.state() != attempt.state()) {
      record_->enter(attempt.state(), "");
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
    on_interrupt(attempt);
    return;
  }
  watch_->ask_now();
  on_notice({Notice::preempted, std::nullopt, signal_name(signal)}, attempt);
}

void Supervisor::on_interrupt(Attempt* attempt) {
  if (leaving_ == Leaving::no) {
    on_notice({Notice::interrupted, std::nullopt, "Ctrl-C (again: leave at once)"}, attempt);
    return;
  }
  log::warning("a second Ctrl-C: leaving at once, the last checkpoint stands");
  at_once_ = true;
  if (attempt != nullptr) {
    attempt->leave_at_once();
  }
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
    record_->enter(state::interrupted, notice.text);
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

int Supervisor::end_drained(const AttemptOutcome& outcome) {
  const std::string where = outcome.checkpoint > 0
                                ? fmt::format("the checkpoint of step {}", outcome.checkpoint)
                                : "no checkpoint yet";
  if (at_once_ || !outcome.saved) {
    const std::string text = fmt::format("stopped before the state was saved; {} stands", where);
    return finish(exit_unsaved, left_state(), text);
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

std::optional<int> Supervisor::end_failed(AttemptOutcome outcome) {
  auto& report = *outcome.fault;
  report.first.text = readable_back_trace(report.first.text);
  FaultReport told = report;  // a file is read elsewhere too: there it says which machine this is
  if (told.first.host.empty()) {
    told.first.host = this_host();
  }
  record_->write_failure(
      report.sentence(),
      told.file_text(logs_->tail(report.first.rank),
                     remedy_for(report, plan_.files.rank_log(report.first.rank).string())));
  if (leaving_ != Leaving::no) {
    log::error(report.sentence());
    return finish(exit_unsaved, left_state(), "failed while leaving; " + report.sentence());
  }
  Failure failure;
  failure.fault = report.first.fault;
  failure.user_error = outcome.user_error;
  failure.last_step = outcome.first_step ? outcome.step : 0;
  failure.checkpoint = outcome.checkpoint;
  failure.host = report.first.host;
  const auto decision = policy_.on_failure(failure, now());
  if (decision.again) {
    log::error(report.sentence());
    log::info(decision.why);
    return start_again(report, decision);
  }
  return give_up(report, decision.why,
                 outcome.user_error || report.first.fault == Fault::bad_input);
}

/// Nothing: the next attempt may begin.
std::optional<int> Supervisor::start_again(const FaultReport& report,
                                           const RestartDecision& decision) {
  if (decision.exclude) {
    leave_out(*decision.exclude, fmt::format("failed {} times", plan_.restarts.host_failures));
  }
  drop_lost_hosts();
  if (const auto code = fit_to_hosts()) {
    return code == exit_failed ? give_up(report, "no host is left to start again on", false)
                               : *code;
  }
  if (wait_before_restart(decision.wait)) {
    ++record_->status.restarts;
    return std::nullopt;
  }
  return finish(exit_unsaved, left_state(), "told to leave while waiting to start again");
}

/// What closes the output: the guilty rank's last lines, where the console does not end with them
/// already, and the verdict.
int Supervisor::give_up(const FaultReport& report, const std::string& why, bool users_fault) {
  const int code = finish(users_fault ? exit_usage : exit_failed, state::failed, report.sentence());
  const int rank = report.first.rank;
  const bool are_there = plan_.console == Console::rank_zero && rank == 0;
  const bool says_it_all = users_fault && report.first.recorded;
  const auto last_lines = are_there || says_it_all ? std::vector<std::string>() : logs_->tail(rank);
  std::string ending =
      last_lines.empty() ? "" : fmt::format("\nThe last lines of rank {}:\n", rank);
  for (const auto& line : last_lines) {
    ending += "  " + line + "\n";
  }
  ending += fmt::format("{} failed: {}\n", plan_.name, report.sentence());
  if (!users_fault) {
    ending += fmt::format("Not started again: {}\n", why);
  }
  ending += remedy_for(report, plan_.files.rank_log(rank).string());
  console::line(STDERR_FILENO, ending);
  return code;
}

/// What a run that must leave is called when its state could not be saved.
const char* Supervisor::left_state() const {
  return leaving_ == Leaving::to_continue ? state::interrupted : state::stopped;
}

int Supervisor::finish(int code, const char* state, const std::string& message) {
  record_->close(code, state, message);
  if (state != state::failed) {
    log::info(fmt::format("{}: {}", plan_.name, message));
  }
  return code;
}

}  // namespace muster
