// SPDX-License-Identifier: Apache-2.0
#include "launcher/supervise/run_record.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/base/log.h"

namespace muster {
namespace {

double seconds(Nanoseconds duration) {
  return std::chrono::duration<double>(duration).count();
}
Monotonic now() {
  return std::chrono::steady_clock::now();
}
WallTime wall() {
  return std::chrono::system_clock::now();
}

}  // namespace

RunRecord::RunRecord(RunFiles files)
    : files_(std::move(files)),
      lock_(files_.root, clock_, [](const std::string& text) { log::warning(text); }),
      started_(now()) {
  if (const auto before = read_file_if_there(files_.status())) {
    status = status_from_json(*before, files_.status().string());
  }
  status.exit_code.reset();
  forget_failure();
  seconds_before_ = status.run_seconds;
  if (std::ranges::any_of(status.transitions,
                          [](const Transition& one) { return one.status == state::starting; })) {
    ++status.restarts;
  }
}

void RunRecord::enter(const char* state, const std::string& message) {
  status.enter(state, message, wall());
  save();
}

void RunRecord::show_progress(const Attempt& attempt) {
  if (now() >= next_status_) {
    next_status_ = now() + std::chrono::seconds(1);
    status.step = attempt.step();
    status.checkpoint_step = attempt.checkpoint();
    status.run_seconds = seconds_before_ + seconds(now() - started_);
    take_metrics();
    save();
  }
}

void RunRecord::account(const AttemptOutcome& outcome, Monotonic begin, Monotonic end) {
  status.step = std::max(outcome.step, outcome.checkpoint);
  status.checkpoint_step = outcome.checkpoint;
  status.run_seconds = seconds_before_ + seconds(end - started_);
  status.lost_seconds += seconds(outcome.first_step.value_or(end) - begin);  // starting
  const bool saved = outcome.kind == AttemptOutcome::Kind::finished ||
                     (outcome.kind == AttemptOutcome::Kind::drained && outcome.saved);
  if (!saved && outcome.first_step) {  // what has to be done again
    status.lost_seconds +=
        seconds(end - std::max(*outcome.first_step, outcome.last_checkpoint.value_or(begin)));
  }
}

void RunRecord::write_failure(const std::string& sentence, const std::string& text) {
  status.failure = sentence;
  try {
    write_file_atomically(files_.failure(), text);
  } catch (const std::exception& error) {
    log::warning(fmt::format("cannot write {}: {}", files_.failure().string(), error.what()));
  }
}

void RunRecord::forget_failure() {
  status.failure.clear();
  posix_file_system().remove(files_.failure());
}

void RunRecord::take_metrics() {
  if (const auto metrics = last_metrics(files_.metrics())) {
    status.epoch = metrics->epoch;
    status.metrics = metrics->values;
  }
}

void RunRecord::save() {
  try {
    write_file_atomically(files_.status(), to_json(status));
  } catch (
      const std::exception& error) {  // a full disk: the ranks may still be able to save elsewhere
    log::warning(fmt::format("cannot write the status: {}", error.what()));
  }
}

void RunRecord::close(int code, const char* state, const std::string& message) {
  take_metrics();
  status.run_seconds = seconds_before_ + seconds(now() - started_);
  status.exit_code = code;
  if (status.state() == state) {
    status.transitions.back().message = message;
  }
  enter(state, message);
  lock_.release();
}

}  // namespace muster
