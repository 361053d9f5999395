// SPDX-License-Identifier: Apache-2.0
#include "launcher/worker/trial_lane.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <new>

#include "launcher/sweep/group_store.h"
#include "launcher/sweep/program_trial.h"
#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/base/text.h"
#include "runtime/checkpoint/checkpoint_engine.h"
#include "runtime/comm/communicator.h"
#include "runtime/comm/node_group.h"
#include "runtime/model/model.h"
#include "runtime/train/save_model.h"

namespace muster {
namespace {

Clock& wall_clock() {
  static SystemClock the_clock;
  return the_clock;
}

std::string data_key_of(const std::vector<std::pair<std::string, std::string>>& parameters) {
  std::string key;
  for (const auto& [name, word] : parameters) {
    if (name.starts_with("data.")) {
      key += name + "=" + word + "\n";
    }
  }
  return key;
}

/// libtorch's own words for no memory left; everything else is the trial's failure.
bool is_out_of_memory(const std::exception& error) {
  const std::string text = error.what();
  return dynamic_cast<const std::bad_alloc*>(&error) != nullptr ||
         text.find("out of memory") != std::string::npos ||
         text.find("can't allocate memory") != std::string::npos;
}

}  // namespace

TrialLane::TrialLane(const LaneHost& host, TrialJob job, const WorkerOrder& start,
                     std::unique_ptr<Snapshot> kept)
    : host_(host),
      job_(std::move(job.settings)),
      file_text_(std::move(job.file_text)),
      parameters_(start.parameters),
      trial_(start.trial),
      from_(start.from),
      data_key_(data_key_of(start.parameters)),
      control_(std::make_unique<ControlHeader>()),
      snapshot_(std::move(kept)),
      spoke_(wall_clock().now()),
      saved_(spoke_),
      to_(start.to),
      thread_([this] { run(); }) {}

TrialLane::~TrialLane() {
  suspend();
  join();
}

void TrialLane::join() {
  if (thread_.joinable()) {
    thread_.join();
  }
}

bool TrialLane::is_over() const {
  const std::lock_guard lock(mutex_);
  return over_;
}

std::unique_ptr<Snapshot> TrialLane::take_snapshot() {
  return std::move(snapshot_);
}

void TrialLane::answer(const WorkerOrder& order) {
  const std::lock_guard lock(mutex_);
  if (order.decision == "continue") {
    to_ = order.to;
    answered_ = order.to;
  } else {
    decision_ = order.decision;
    control_->notice.store(Notice::stopped);  // between reports too
  }
  changed_.notify_all();
}

void TrialLane::suspend() {
  const std::lock_guard lock(mutex_);
  wants_suspend_ = true;
  control_->notice.store(Notice::preempted);
  changed_.notify_all();
}

WorkerEvent TrialLane::event(WorkerEvent::Kind kind) {
  WorkerEvent said;
  said.kind = kind;
  said.trial = trial_;
  const auto now = wall_clock().now();
  said.seconds = std::chrono::duration<double>(now - std::exchange(spoke_, now)).count();
  return said;
}

Path TrialLane::directory() const {
  return trial_directory(host_.trials, trial_);
}

void TrialLane::run() {
  log::set_thread_label({.rank = -1, .trial = std::to_string(trial_)});
  at::set_num_threads(1);
  WorkerEvent failure;
  try {
    train();
    const std::lock_guard lock(mutex_);
    over_ = true;
    return;
  } catch (const std::exception& error) {
    failure = event(WorkerEvent::Kind::ended);
    failure.state = is_out_of_memory(error) ? "evicted" : "failed";
    if (is_out_of_memory(error) && lease_) {
      lease_->ran_out();
    }
    failure.reason = report(error);
  }
  snapshot_.reset();
  trainer_.reset();
  gpu_.reset();
  lease_.reset();
  try {
    write_file_atomically(directory() / "failure", failure.reason + "\n");
  } catch (const std::exception& error) {
    log::warning(report(error));
  }
  host_.say(failure);
  const std::lock_guard lock(mutex_);
  over_ = true;
}

void TrialLane::train() {
  posix_file_system().make_directory(directory());
  data_ = host_.data(job_, data_key_);
  model_ = make_model(job_.model, data_->train->shape(), job_.train.seed);
  const auto node = solo_node_group();
  const auto across = solo_communicator();
  const auto world = solo_communicator();
  trainer_ = std::make_unique<Trainer>(job_,
                                       TrainerParts{.model = *model_,
                                                    .train = *data_->train,
                                                    .validation = data_->validation.get(),
                                                    .ranks = {*node, *across, *world},
                                                    .control = control_.get(),
                                                    .slot = nullptr,
                                                    .keeper = this,
                                                    .directory = {},
                                                    .gpu = enter_gpu()},
                                       *this);
  whole_steps_ = trainer_->steps();
  bring_state();
  open_records();
  {
    const std::lock_guard lock(mutex_);
    if (std::isfinite(to_)) {
      trainer_->extend_to_epochs(static_cast<std::uint64_t>(to_));
    }
  }
  leave(trainer_->run());
  trainer_.reset();  // before the groups that it uses
  gpu_.reset();
  lease_.reset();
}

/// Waits until the GPU has room for one trial more. What its kind took before is known; of a new
/// kind only that parameters, gradients, state and as much again for the work are there.
GpuParts TrialLane::enter_gpu() {
  if (host_.gpus == nullptr) {
    return {};
  }
  constexpr std::uint64_t copies = 8;  // parameters, gradients, two of state, and the work's
  const auto guess = static_cast<std::uint64_t>(parameter_count(*model_)) * sizeof(float) * copies;
  const std::string kind =
      fmt::format("{} {} {}", model_->fingerprint(), job_.train.batch_size, job_.train.amp);
  lease_ = host_.gpus->admission.enter(kind, guess);
  gpu_ = host_.gpus->gpus->lane(0);
  return {.gpu = gpu_.get(), .residents = &host_.gpus->sets};
}

/// The first steps are the dry run of a kind that was never seen.
void TrialLane::note_memory(std::uint64_t step) {
  if (lease_ && !is_measured_ && step >= dry_run_steps) {
    is_measured_ = true;
    lease_->measured(trainer_->memory_bytes());
  }
}

/// The trial's directory reads as a run's.
void TrialLane::open_records() {
  write_file_atomically(directory() / "config.ini", file_text_);
  records_ = std::make_unique<MetricsWriter>(
      directory(), trainer_->step(), MetricsWriter::Options{.tensorboard = job_.train.tensorboard});
  records_->write_hyperparameters(directory().filename().string(), parameters_);
}

/// From this process's memory, unless the trial has gone further in another worker since; else from
/// the newest commit that holds it; else from the start.
void TrialLane::bring_state() {
  std::int64_t step = -1;
  if (snapshot_) {
    step = snapshot_->info().step;
  }
  const double epochs_done = static_cast<double>(step) * job_.train.epochs /
                             static_cast<double>(std::max<std::uint64_t>(1, trainer_->steps()));
  if (snapshot_ && epochs_done >= from_ - 1e-9) {
    snapshot_->restore(trainer_->state(), trainer_->mover());
    trainer_->restored();
  } else if (restore_newest(step)) {
    trainer_->restored();
    log::info(fmt::format("resumed at step {}", trainer_->step()));
  } else if (snapshot_) {
    snapshot_->restore(trainer_->state(), trainer_->mover());
    trainer_->restored();
  }
  snapshot_.reset();
}

/// The furthest commit of this trial that is past `than`: its own, or one of all trials together.
bool TrialLane::restore_newest(std::int64_t than) {
  const std::string name = group_member_name(trial_);
  const auto restore = [&](const CheckpointStore& store) {
    const auto found = restore_member(store, name, trainer_->state(), trainer_->checkpoint_info(),
                                      trainer_->mover());
    return found ? found->info.step : -1;
  };
  const CheckpointStore own(directory() / "checkpoints");
  const std::int64_t mine = restore(own);
  const auto group = GroupStore(host_.group).furthest_of(trial_);
  std::int64_t reached = mine;
  if (group && group->step > mine) {
    reached = restore(group->store);
    if (reached < mine) {  // damaged
      reached = restore(own);
    }
  }
  return reached > than;
}

Verdict TrialLane::on_report(const TrainReport& report) {
  records_->write({.step = report.step, .epoch = report.epoch, .values = report.values});
  if (!report.ends_epoch) {
    return Verdict::go_on;
  }
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
  return next_verdict(said.resource);
}

Verdict TrialLane::next_verdict(double reached) {
  std::unique_lock lock(mutex_);
  const auto is_decided = [&] { return decision_ || wants_suspend_ || to_ > reached; };
  changed_.wait(lock, is_decided);
  if (decision_ || wants_suspend_) {
    return Verdict::pause;
  }
  if (std::isfinite(to_)) {  // else the job's own length holds
    trainer_->extend_to_epochs(static_cast<std::uint64_t>(to_));
  }
  return Verdict::go_on;
}

void TrialLane::on_remark(const std::string& text) {
  WorkerEvent said;
  said.kind = WorkerEvent::Kind::remark;
  said.trial = trial_;
  said.reason = text;
  host_.say(said);
}

void TrialLane::on_progress(const TrainReport& /*report*/) {}

bool TrialLane::due(std::uint64_t step) {
  note_memory(step);
  return wall_clock().now() - saved_ > std::chrono::duration<double>(host_.commit_seconds);
}

void TrialLane::save(const StateTree& /*tree*/, std::uint64_t /*step*/,
                     std::optional<double> /*score*/) {
  saved_ = wall_clock().now();
  keep_snapshot();
  commit_own();
}

void TrialLane::commit_own() {
  const CheckpointStore store(directory() / "checkpoints");
  const GroupMember member{.name = group_member_name(trial_), .snapshot = snapshot_.get()};
  commit_group(store, std::span(&member, 1), wall_clock());
  store.retain(1, 0);
}

void TrialLane::keep_snapshot() {
  StateTree& tree = trainer_->state();
  if (!snapshot_) {
    snapshot_ = std::make_unique<Snapshot>(Plan::make(tree));
  }
  snapshot_->take(tree, trainer_->checkpoint_info(), trainer_->mover());
}

void TrialLane::leave(TrainEnd end) {
  std::optional<std::string> decision;
  {
    const std::lock_guard lock(mutex_);
    decision = decision_;
    was_suspended_ = !decision && wants_suspend_ && end != TrainEnd::finished;
  }
  if (was_suspended_) {
    keep_snapshot();  // committed with the others
    if (trainer_->step() >= whole_steps_) {
      export_model();  // its last report may be answered by `complete` when we have gone
    }
    return;
  }
  if (decision == "pause") {
    keep_snapshot();
    host_.say(event(WorkerEvent::Kind::idle));
    commit_own();
    return;
  }
  snapshot_.reset();
  if (decision == "stop") {
    host_.say(event(WorkerEvent::Kind::idle));
    return;
  }
  export_model();
  WorkerEvent said = event(decision ? WorkerEvent::Kind::idle : WorkerEvent::Kind::ended);
  said.state = "complete";
  said.final_value = last_value_;
  host_.say(said);
}

void TrialLane::export_model() {
  trainer_->with_final_parameters(
      [&] { save_model(*model_, directory() / "model", job_.train.save); });
}

}  // namespace muster
