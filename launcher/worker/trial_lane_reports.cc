// What a lane says, what it is answered, and how it leaves.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cmath>

#include "launcher/worker/trial_lane.h"
#include "runtime/base/error.h"
#include "runtime/base/text.h"
#include "runtime/comm/communicator.h"
#include "runtime/model/model.h"
#include "runtime/train/save_model.h"

namespace muster {

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
  switch (order) {
    case Order::suspend:
      was_suspended_ = true;
      keeper_->keep(*trainer_);
      if (host_.is_team) {
        keeper_->commit();  // else with the others
      }
      if (trainer_->step() >= whole_steps_) {
        export_model();  // its last report may be answered by `complete` when we have gone
      }
      return;
    case Order::pause:
      keeper_->keep(*trainer_);
      say(event(WorkerEvent::Kind::idle));
      keeper_->commit();
      return;
    case Order::stop:
      keeper_->forget();
      say(event(WorkerEvent::Kind::idle));
      return;
    case Order::complete:
    case Order::none:
      return complete(order == Order::complete);
  }
}

void TrialLane::complete(bool is_answered) {
  keeper_->forget();
  export_model();
  WorkerEvent said = event(is_answered ? WorkerEvent::Kind::idle : WorkerEvent::Kind::ended);
  said.state = "complete";
  said.final_value = last_value_;
  say(said);
}

void TrialLane::export_model() {
  trainer_->with_final_parameters([&] {
    if (is_first()) {
      save_model(*model_, directory() / "model", job_.train.save);
    }
  });
}

}  // namespace muster
