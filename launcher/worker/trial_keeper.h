/// TrialKeeper: where a trial's state is between two launches, and while one runs in case of an
/// accident. A trial of one rank is kept in this process's memory and on disk, alone or in one
/// commit with others; a trial of several ranks by the engine that also keeps training jobs. Calls
/// on a trainer are collective over its ranks.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "runtime/base/clock.h"
#include "runtime/base/file_system.h"
#include "runtime/checkpoint/snapshot.h"
#include "runtime/comm/communicator.h"
#include "runtime/train/trainer.h"

namespace muster {

class TrialKeeper : public StateKeeper {
 public:
  /// Fills the trainer's state from whatever is furthest; leaves it when there is nothing. `steps`:
  /// how far the trial had reported.
  virtual void bring(Trainer& trainer, double steps) = 0;
  /// The state as it is now, for another launch; not durable before commit().
  virtual void keep(Trainer& trainer) = 0;
  virtual void commit() = 0;
  /// The same, by a trial that can do without: why it is not durable, or nothing.
  std::string try_commit();
  /// The trial is over: nothing of it is needed.
  virtual void forget() = 0;
  /// What was kept, when it still waits to be committed with others; else null.
  virtual std::unique_ptr<Snapshot> take_snapshot() { return nullptr; }
};

struct KeeperPlaces {
  std::uint32_t trial = 0;
  Path directory;  ///< sweeps/NAME/trials/0017
  Path group;      ///< sweeps/NAME/checkpoints: commits of all trials together
  double commit_seconds = 30;
};

/// `kept`: the state, when this process still has it. `remark` hears when the disk refuses to save
/// a trial that runs, which goes on.
std::unique_ptr<TrialKeeper> solo_keeper(KeeperPlaces places, std::unique_ptr<Snapshot> kept,
                                         std::function<void(const std::string&)> remark);
/// Collective. `world` outlives it.
std::unique_ptr<TrialKeeper> team_keeper(const KeeperPlaces& places, Communicator& world);

}  // namespace muster
