// What a lane says, what it is answered, and how it leaves.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <new>

#include "launcher/worker/trial_lane.h"
#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/base/text.h"
#include "runtime/base/thread_log.h"
#include "runtime/comm/communicator.h"
#include "runtime/model/model.h"
#include "runtime/train/save_model.h"

namespace muster {
namespace {

std::string text_of(const TrainReport& report) {
  std::vector<std::string> values;
  for (const auto& [name, number] : report.values) {
    values.push_back(fmt::format("{} {:.5g}", name, number));
  }
  return fmt::format("step {}, epoch {:.4g}: {}", report.step, report.epoch,
                     muster::join(values, ", "));
}

/// libtorch's, cuBLAS's and our own words for no memory left; everything else is the trial's
/// failure.
bool is_out_of_memory(const std::exception& error) {
  const std::string text = report(error);
  return dynamic_cast<const std::bad_alloc*>(&error) != nullptr ||
         text.find("out of memory") != std::string::npos ||
         text.find("bad_alloc") != std::string::npos ||
         text.find("ALLOC_FAILED") != std::string::npos ||
         text.find("NOT_INITIALIZED") != std::string::npos ||           // no room for a handle
         text.find("unable to find an engine") != std::string::npos ||  // nor for its workspace
         text.find("Cannot allocate memory") != std::string::npos ||
         text.find("can't allocate memory") != std::string::npos ||
         text.find("Resource temporarily unavailable") !=
             std::string::npos;  // no stack for a thread
}

}  // namespace

std::string state_after(const std::exception& error) {
  return is_out_of_memory(error) ? "evicted" : "failed";
}

/// The first rank's number, on all.
double TrialLane::agreed(double own) {
  team_->groups().world.broadcast(buffer_of(&own, 1), 0).wait();
  return own;
}

void TrialLane::extend(double epochs) {
  if (std::isfinite(epochs)) {  // else the job's own length holds
    trainer_->extend_to_epochs(static_cast<std::uint64_t>(epochs));
  }
}

Verdict TrialLane::on_report(const TrainReport& report) {
  if (is_first()) {
    records_->write({.step = report.step, .epoch = report.epoch, .values = report.values});
  }
  log::aside(text_of(report));
  if (!report.ends_epoch) {
    return Verdict::go_on;
  }
  auto verdict = Verdict::go_on;
  double to = 0;
  if (is_first()) {
    tell(report);
    verdict = next_verdict(std::round(report.epoch));
    const std::lock_guard lock(mutex_);
    to = to_;
  }
  to = agreed(to);
  if (verdict == Verdict::go_on) {  // the other ranks take the first one's
    extend(to);
  }
  return verdict;
}

void TrialLane::tell(const TrainReport& report) {
  WorkerEvent said = event(WorkerEvent::Kind::report);
  said.resource = std::round(report.epoch);
  said.memory = trainer_->memory_bytes();
  if (lease_ && is_measured_) {
    lease_->measured(said.memory);
  }
  std::optional<double> value;
  std::vector<std::string> names;
  for (const auto& [name, number] : report.values) {
    names.push_back(name);
    if (name == host_.objective) {
      value = number;
    } else {
      said.metrics.emplace_back(name, number);
    }
  }
  if (!value) {
    throw Error(Fault::bad_input, fmt::format("the job reports no {}: its metrics are {}",
                                              host_.objective, muster::join(names, ", ")));
  }
  said.value = *value;
  last_value_ = *value;
  if (said.resource > from_) {
    host_.say(said);
  }
}

Verdict TrialLane::next_verdict(double reached) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return order_ != Order::none || wants_suspend_ || to_ > reached; });
  return order_ != Order::none || wants_suspend_ ? Verdict::pause : Verdict::go_on;
}

void TrialLane::on_remark(const std::string& text) {
  WorkerEvent said;
  said.kind = WorkerEvent::Kind::remark;
  said.trial = trial_;
  said.reason = text;
  log::aside(text);
  say(said);
}

void TrialLane::on_progress(const TrainReport& /*report*/) {}

bool TrialLane::due(std::uint64_t step) {
  note_memory(step);
  return keeper_->due(step);
}

void TrialLane::save(const StateTree& tree, std::uint64_t step, std::optional<double> score) {
  keeper_->save(tree, step, score);
}

/// Called off before there was room for it.
void TrialLane::leave_early() {
  bool is_answered = false;
  {
    const std::lock_guard lock(mutex_);
    is_answered = order_ != Order::none;
  }
  was_suspended_ = !is_answered;
  if (is_answered) {
    say(event(WorkerEvent::Kind::idle));
  }
}

TrialLane::Order TrialLane::agreed_order(TrainEnd end) {
  auto order = Order::none;
  {
    const std::lock_guard lock(mutex_);
    const bool makes_room = wants_suspend_ && end != TrainEnd::finished;
    order = order_ == Order::none && makes_room ? Order::suspend : order_;
  }
  return static_cast<Order>(static_cast<std::int32_t>(agreed(static_cast<double>(order))));
}

void TrialLane::leave(TrainEnd end) {
  const auto order = agreed_order(end);
  static constexpr std::array words{"complete", "paused", "stopped", "complete", "makes room"};
  log::aside(
      fmt::format("{} after step {}", words.at(static_cast<std::size_t>(order)), trainer_->step()));
  switch (order) {
    case Order::suspend:
      was_suspended_ = true;
      keeper_->keep(*trainer_);
      if (host_.is_team) {  // else with the others
        warn_of_loss(keeper_->try_commit());
      }
      if (trainer_->step() >= whole_steps_) {
        export_model();  // its last report may be answered by `complete` when we have gone
      }
      return;
    case Order::pause:
      return pause();
    case Order::stop:
      keeper_->forget();
      release();
      say(event(WorkerEvent::Kind::idle));
      return;
    case Order::complete:
    case Order::none:
      return complete(order == Order::complete);
  }
}

/// The next trial need not wait for this one's disk, unless both do not fit. What the disk refuses
/// is in memory yet, but for a team's.
void TrialLane::pause() {
  keeper_->keep(*trainer_);
  const bool must_wait = host_.is_team || *host_.is_tight;
  std::string problem = must_wait ? keeper_->try_commit() : "";
  if (must_wait && problem.empty()) {
    keeper_->forget();
  }
  release();
  say(event(WorkerEvent::Kind::idle));
  if (!must_wait) {
    problem = keeper_->try_commit();
  }
  warn_of_loss(problem);
}

/// Of a commit that it leaves behind.
void TrialLane::warn_of_loss(const std::string& problem) {
  if (!problem.empty()) {
    on_remark(
        "its state could not be saved; another process would train again what it did since "
        "its last save: " +
        problem);
  }
}

void TrialLane::complete(bool is_answered) {
  keeper_->forget();
  export_model();
  release();
  WorkerEvent said = event(is_answered ? WorkerEvent::Kind::idle : WorkerEvent::Kind::ended);
  said.state = "complete";
  said.final_value = last_value_;
  say(said);
}

void TrialLane::export_model() {
  trainer_->with_final_parameters([&] {
    for (const auto& form : is_first() ? job_.train.save : std::vector<std::string>()) {
      save_when_there_is_room(form);
    }
  });
}

/// Its result is known, and nobody trains it again for the model's sake: others end or make room.
/// A form that it can do without is left out, aloud, when nobody is there who could.
void TrialLane::save_when_there_is_room(const std::string& form) {
  constexpr std::chrono::milliseconds between{250};
  const bool is_needed = form == job_.train.save.front();
  for (int tries = 1;; ++tries) {
    try {
      return save_model(*model_, directory() / "model", {form}, notes_on(*data_->train));
    } catch (const std::exception& error) {
      if (state_after(error) != "evicted") {
        throw;
      }
      const bool has_others = host_.admission != nullptr && host_.admission->inside() > 1;
      if (tries >= (has_others ? 120 : is_needed ? 20 : 1)) {
        if (is_needed) {
          throw;
        }
        return on_remark(fmt::format("its model was not written as {}: {}", form, report(error)));
      }
      *host_.is_tight = true;
    }
    std::this_thread::sleep_for(between);
  }
}

}  // namespace muster
