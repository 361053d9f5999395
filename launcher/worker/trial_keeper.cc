// SPDX-License-Identifier: Apache-2.0
#include "launcher/worker/trial_keeper.h"

#include <fmt/format.h>

#include <algorithm>

#include "launcher/sweep/group_store.h"
#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/checkpoint/checkpoint_engine.h"

namespace muster {
namespace {

class SoloKeeper final : public TrialKeeper {
 public:
  SoloKeeper(KeeperPlaces places, std::unique_ptr<Snapshot> kept,
             std::function<void(const std::string&)> remark)
      : places_(std::move(places)),
        snapshot_(std::move(kept)),
        remark_(std::move(remark)),
        saved_(clock_.now()) {}

  void bring(Trainer& trainer, double steps) override;
  void keep(Trainer& trainer) override;
  void commit() override;
  void forget() override { snapshot_.reset(); }
  std::unique_ptr<Snapshot> take_snapshot() override { return std::move(snapshot_); }

  bool due(std::uint64_t /*step*/) override {
    return clock_.now() - saved_ > std::chrono::duration<double>(places_.commit_seconds);
  }
  void save(const StateTree& /*tree*/, std::uint64_t /*step*/,
            std::optional<double> /*score*/) override;

 private:
  bool restore_newest(Trainer& trainer, std::int64_t than);
  KeeperPlaces places_;
  std::unique_ptr<Snapshot> snapshot_;
  std::function<void(const std::string&)> remark_;
  bool was_refused_ = false;  // the last save: told once until one succeeds
  SystemClock clock_;
  Monotonic saved_;
  Trainer* trainer_ = nullptr;  // whose state save() is about
};

/// From this process's memory, unless the trial has gone further in another worker since; else from
/// the newest commit that holds it; else from the start.
void SoloKeeper::bring(Trainer& trainer, double steps) {
  trainer_ = &trainer;
  const std::int64_t step = snapshot_ ? snapshot_->info().step : -1;
  if (static_cast<double>(step) < std::max(0.0, steps) && restore_newest(trainer, step)) {
    trainer.restored();
    log::info(fmt::format("resumed at step {}", trainer.step()));
  } else if (snapshot_) {
    snapshot_->restore(trainer.state(), trainer.mover());
    trainer.restored();
  }
  snapshot_.reset();
}

/// The furthest commit of this trial that is past `than`: its own, or one of all trials together.
bool SoloKeeper::restore_newest(Trainer& trainer, std::int64_t than) {
  const std::string name = group_member_name(places_.trial);
  const auto restore = [&](const CheckpointStore& store) {
    const auto found =
        restore_member(store, name, trainer.state(), trainer.checkpoint_info(), trainer.mover());
    return found ? found->info.step : -1;
  };
  const CheckpointStore own(places_.directory / "checkpoints");
  const std::int64_t mine = restore(own);
  const auto group = GroupStore(places_.group).furthest_of(places_.trial);
  std::int64_t reached = mine;
  if (group && group->step > mine) {
    reached = restore(group->store);
    if (reached < mine) {  // damaged
      reached = restore(own);
    }
  }
  return reached > than;
}

void SoloKeeper::keep(Trainer& trainer) {
  StateTree& tree = trainer.state();
  if (!snapshot_) {
    snapshot_ = std::make_unique<Snapshot>(Plan::make(tree));
  }
  snapshot_->take(tree, trainer.checkpoint_info(), trainer.mover());
}

void SoloKeeper::commit() {
  const CheckpointStore store(places_.directory / "checkpoints");
  const GroupMember member{.name = group_member_name(places_.trial), .snapshot = snapshot_.get()};
  commit_group(store, std::span(&member, 1), clock_);
  store.retain(1, 0);
}

void SoloKeeper::save(const StateTree& /*tree*/, std::uint64_t step,
                      std::optional<double> /*score*/) {
  saved_ = clock_.now();
  keep(*trainer_);
  const std::string problem = try_commit();
  if (!problem.empty() && !was_refused_) {
    remark_(
        fmt::format("its state at step {} was not saved; it goes on, and the older ones are "
                    "untouched: {}",
                    step, problem));
  }
  was_refused_ = !problem.empty();
}

EngineOptions options_of(const KeeperPlaces& places) {
  EngineOptions options;
  options.directory = places.directory / "checkpoints";
  options.interval.seconds = places.commit_seconds;
  options.keep = 1;
  return options;
}

class TeamKeeper final : public TrialKeeper {
 public:
  TeamKeeper(const KeeperPlaces& places, Communicator& world)
      : engine_(options_of(places), world, posix_file_system(), clock_) {}

  void bring(Trainer& trainer, double /*steps*/) override {
    trainer_ = &trainer;
    engine_.set_mover(trainer.mover());
    engine_.prepare(trainer.state());
    if (engine_.restore(trainer.state(), trainer.checkpoint_info())) {
      trainer.restored();
      log::info(fmt::format("resumed at step {}", trainer.step()));
    }
  }
  void keep(Trainer& trainer) override { trainer_ = &trainer; }
  void commit() override { engine_.save_now(trainer_->state(), trainer_->checkpoint_info()); }
  void forget() override { engine_.wait(); }

  bool due(std::uint64_t step) override { return engine_.due(static_cast<std::int64_t>(step)); }
  void save(const StateTree& tree, std::uint64_t /*step*/,
            std::optional<double> /*score*/) override {
    engine_.save(tree, trainer_->checkpoint_info());
  }

 private:
  SystemClock clock_;
  CheckpointEngine engine_;
  Trainer* trainer_ = nullptr;
};

}  // namespace

std::string TrialKeeper::try_commit() {
  try {
    commit();
    return {};
  } catch (const Error& error) {
    if (fault_of(error) != Fault::io) {
      throw;
    }
    return report(error);
  }
}

std::unique_ptr<TrialKeeper> solo_keeper(KeeperPlaces places, std::unique_ptr<Snapshot> kept,
                                         std::function<void(const std::string&)> remark) {
  return std::make_unique<SoloKeeper>(std::move(places), std::move(kept), std::move(remark));
}

std::unique_ptr<TrialKeeper> team_keeper(const KeeperPlaces& places, Communicator& world) {
  return std::make_unique<TeamKeeper>(places, world);
}

}  // namespace muster
