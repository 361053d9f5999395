// SPDX-License-Identifier: Apache-2.0
#include "launcher/worker/trial_lane.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <cstdlib>
#include <new>

#include "launcher/sweep/program_trial.h"
#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/log.h"
#include "runtime/base/text.h"
#include "runtime/base/thread_log.h"
#include "runtime/base/thread_name.h"
#include "runtime/comm/node_group.h"
#include "runtime/model/model.h"
#include "runtime/train/plan.h"

namespace muster {
namespace {

Clock& wall_clock() {
  static SystemClock the_clock;
  return the_clock;
}

/// A rank that dies ends its MPI world and us within so long; a trial that heard of it is not at
/// fault.
constexpr std::chrono::seconds end_of_a_world{5};

std::string words_of(const std::vector<std::pair<std::string, std::string>>& parameters) {
  std::vector<std::string> words;
  for (const auto& [name, word] : parameters) {
    words.push_back(name + " = " + word);
  }
  return muster::join(words, ", ");
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

}  // namespace

TrialLane::TrialLane(const LaneHost& host, TrialJob job, const WorkerOrder& start,
                     std::unique_ptr<Snapshot> kept)
    : host_(host),
      job_(std::move(job.settings)),
      file_text_(std::move(job.file_text)),
      parameters_(start.parameters),
      trial_(start.trial),
      from_(start.from),
      kept_(std::move(kept)),
      spoke_(wall_clock().now()),
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
  return kept_ ? std::move(kept_) : keeper_ ? keeper_->take_snapshot() : nullptr;
}

/// Under the mutex.
void TrialLane::notify(Notice notice) {
  early_ = notice;
  if (control_ != nullptr) {
    control_->notice.store(notice);
  }
  changed_.notify_all();
  if (host_.admission != nullptr) {
    host_.admission->look_again();
  }
}

void TrialLane::answer(const WorkerOrder& order) {
  const std::lock_guard lock(mutex_);
  if (order.decision == "continue") {
    to_ = order.to;
    changed_.notify_all();
    return;
  }
  order_ = order.decision == "pause"  ? Order::pause
           : order.decision == "stop" ? Order::stop
                                      : Order::complete;
  notify(Notice::stopped);  // between reports too
}

void TrialLane::suspend() {
  const std::lock_guard lock(mutex_);
  wants_suspend_ = true;
  notify(Notice::preempted);
}

WorkerEvent TrialLane::event(WorkerEvent::Kind kind) {
  WorkerEvent said;
  said.kind = kind;
  said.trial = trial_;
  const auto now = wall_clock().now();
  said.seconds = std::chrono::duration<double>(now - std::exchange(spoke_, now)).count();
  return said;
}

void TrialLane::say(const WorkerEvent& event) {
  if (!team_ || is_first()) {
    host_.say(event);
  }
}

Path TrialLane::directory() const {
  return trial_directory(host_.trials, trial_);
}

void TrialLane::run() {
  log::set_thread_label({.rank = -1, .trial = std::to_string(trial_)});
  name_thread(("trial " + std::to_string(trial_)).c_str());
  at::set_num_threads(1);
  try {
    train();
  } catch (const std::exception& error) {
    fail(error);
  }
  end();
}

void TrialLane::end() {
  const std::lock_guard lock(mutex_);
  control_ = nullptr;
  log_.reset();
  team_.reset();
  over_ = true;
}

void TrialLane::fail(const std::exception& error) {
  WorkerEvent failure = event(WorkerEvent::Kind::ended);
  failure.state = state_after(error);
  failure.reason = report(error);
  if (failure.state == "evicted") {
    *host_.is_tight = true;
    if (lease_) {
      lease_->ran_out();
    }
  }
  log::aside(fmt::format("{}: {}", failure.state, failure.reason));
  if (has_lost_gpu()) {  // before its team hears of a failure: the trial is not at fault
    log::error("the GPU answers this worker no more: " + failure.reason);
    std::_Exit(exit_failed);  // what lies on the GPU cannot even be given back
  }
  if (team_) {
    team_->groups().node.abort(failure.reason);
    team_->groups().world.abort(failure.reason);
  }
  const bool speaks = !team_ || is_first();
  if (host_.is_team && speaks && fault_of(error) == Fault::communication) {
    std::this_thread::sleep_for(end_of_a_world);
  }
  keeper_.reset();
  kept_.reset();
  release();
  if (!speaks) {
    return;
  }
  try {
    write_file_atomically(directory() / "failure", failure.reason + "\n");
  } catch (const std::exception& again) {
    log::warning(report(again));
  }
  host_.say(failure);
}

/// After a fault of one kernel, CUDA refuses everything to the process.
bool TrialLane::has_lost_gpu() const {
  if (used_gpu_ == nullptr && host_.gpus == nullptr) {
    return false;
  }
  try {
    static_cast<void>((used_gpu_ != nullptr ? *used_gpu_ : *host_.gpus->gpus->lane(0)).memory());
    return false;
  } catch (const std::exception&) {
    return true;
  }
}

void TrialLane::train() {
  double to = 0;
  posix_file_system().make_directory(directory());
  team_ = host_.open_team();
  log_ = std::make_unique<TrialLog>(directory(), team_->groups().world.rank());
  {
    const std::lock_guard lock(mutex_);
    control_ = &team_->control();
    control_->notice.store(early_);
  }
  build(team_->groups());
  if (!trainer_) {
    return leave_early();
  }
  bring_state();
  open_records();
  {
    const std::lock_guard lock(mutex_);
    to = to_;
  }
  log::aside(fmt::format("begins at step {}, to run to epoch {:.4g}: {}", trainer_->step(), to,
                         words_of(parameters_)));
  extend(agreed(to));
  leave(trainer_->run());
  release();
  team_->finish();
}

/// Gives back what it holds of the memory that lanes share: before its slot is said to be free, or
/// the next trial would not be alone where it should be.
void TrialLane::release() {
  if (host_.is_team) {
    keeper_.reset();  // before the trainer whose state it may be writing
  }
  trainer_.reset();  // before the groups that it uses
  model_.reset();
  data_.reset();
  used_gpu_ = nullptr;
  gpu_.reset();
  lease_.reset();
}

void TrialLane::build(const RankGroups& groups) {
  data_ = host_.data(job_, data_key_of(parameters_));
  model_ = make_model(job_.model, data_->train->shape(), job_.train.seed);
  if (!enter_memory()) {
    return;
  }
  const KeeperPlaces places{.trial = trial_,
                            .directory = directory(),
                            .group = host_.group,
                            .commit_seconds = host_.commit_seconds};
  keeper_ = host_.is_team ? team_keeper(places, groups.world)
                          : solo_keeper(places, std::move(kept_),
                                        [this](const std::string& text) { on_remark(text); });
  trainer_ = std::make_unique<Trainer>(job_,
                                       TrainerParts{.model = *model_,
                                                    .train = *data_->train,
                                                    .validation = data_->validation.get(),
                                                    .ranks = groups,
                                                    .control = &team_->control(),
                                                    .slot = team_->slot(),
                                                    .keeper = this,
                                                    .directory = {},
                                                    .gpu = gpu_parts()},
                                       *this);
  whole_steps_ = trainer_->steps();
}

/// Waits until there is room for one trial more. False when it was called off.
bool TrialLane::enter_memory() {
  if (host_.admission == nullptr) {
    return true;
  }
  const std::uint64_t guess = memory_guess(*model_);
  const std::string kind = memory_kind(job_, *model_);
  lease_ = host_.admission->try_enter(kind, guess);
  if (!lease_) {
    model_.reset();  // who waits takes nothing from those that it waits for
    lease_ = host_.admission->enter(
        kind, guess, [this] { return team_->control().notice.load() != Notice::none; });
    model_ = lease_ ? make_model(job_.model, data_->train->shape(), job_.train.seed) : nullptr;
  }
  return lease_.has_value();
}

GpuParts TrialLane::gpu_parts() {
  if (host_.is_team) {
    auto parts = team_->gpu(job_.train);
    used_gpu_ = parts.gpu;
    return parts;
  }
  if (host_.gpus == nullptr) {
    return {};
  }
  gpu_ = host_.gpus->gpus->lane(0);
  used_gpu_ = gpu_.get();
  return {.gpu = gpu_.get(), .residents = &host_.gpus->sets};
}

/// The first steps are the dry run of a kind that was never seen. On a GPU a checkpoint takes as
/// much again as the state, later.
void TrialLane::note_memory(std::uint64_t step) {
  if (lease_ && !is_measured_ && step >= dry_run_steps) {
    is_measured_ = true;
    lease_->measured(trainer_->memory_bytes() + (gpu_ ? trainer_->state().local_bytes() : 0));
  }
}

/// The trial's directory reads as a run's.
void TrialLane::open_records() {
  if (!is_first()) {
    return;
  }
  posix_file_system().remove(directory() / "failure");  // of the launch before, whose retry this is
  write_file_atomically(directory() / "config.ini", file_text_);
  records_ = std::make_unique<MetricsWriter>(
      directory(), trainer_->step(), MetricsWriter::Options{.tensorboard = job_.train.tensorboard});
  records_->write_hyperparameters(directory().filename().string(), parameters_);
}

void TrialLane::bring_state() {
  const auto steps = static_cast<double>(whole_steps_);
  keeper_->bring(*trainer_, from_ * steps / static_cast<double>(job_.train.epochs));
}

}  // namespace muster
