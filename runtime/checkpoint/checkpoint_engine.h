/// CheckpointEngine: saves the state of all ranks of a job into one directory, without stopping
/// them, and loads it again. save() copies into one of two preallocated slots and returns; threads
/// of the engine bring it to the disk. A checkpoint is there whole or not at all, and once it
/// counts as committed it survives a power cut. Collective calls are marked; the rest is of one
/// rank alone.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/clock.h"
#include "runtime/base/file_system.h"
#include "runtime/checkpoint/checkpoint_store.h"
#include "runtime/checkpoint/interval.h"
#include "runtime/checkpoint/snapshot.h"
#include "runtime/comm/communicator.h"

namespace muster {

struct EngineOptions {
  Path directory;  ///< runs/NAME/checkpoints; made when missing
  IntervalOptions interval;
  int keep = 3;
  int keep_best = 0;
  int threads = 4;      ///< that write: some sum while others wait for the disk
  bool direct = true;   ///< past the page cache where the file system allows it
  bool poison = false;  ///< overwrite a slot as soon as it is released: for tests
};

struct SaveCounts {
  std::uint64_t started = 0, committed = 0, skipped = 0, failed = 0;
};

/// What restore() did.
struct Restored {
  Path path;
  CheckpointInfo info;
  std::vector<CheckpointEntry> skipped;  ///< newer ones that could not be trusted, and why
  std::vector<std::string> warnings;     ///< what differs in the environment
};

class CheckpointEngine {
 public:
  /// Who brings the state to the host and back, where it lies elsewhere. Outlives the engine's
  /// saves; wait() before it goes.
  void set_mover(Mover& mover);
  /// `group`, `files` and `clock` outlive the engine. Nothing happens yet.
  CheckpointEngine(EngineOptions options, Communicator& group, FileSystem& files, Clock& clock);
  ~CheckpointEngine();  ///< gives up what is under way: wait() first to keep it
  CheckpointEngine(const CheckpointEngine&) = delete;
  CheckpointEngine& operator=(const CheckpointEngine&) = delete;

  /// Collective. Lays the file out, allocates both slots, tries the disk (direct or not, rate),
  /// removes debris. Throws Error(io) with a sentence when the directory cannot be written.
  void prepare(const StateTree& tree);

  /// Collective. Fills `tree` from the newest checkpoint whose every byte holds; nothing when there
  /// is none. Nothing of `tree` is touched before all ranks have all their bytes. Throws bad_input
  /// at a newer format, another model or other settings than `expected` has.
  std::optional<Restored> restore(StateTree& tree, const CheckpointInfo& expected);

  /// Collective. Whether to save at the end of `step`, by the interval; the same answer on all
  /// ranks.
  bool due(std::int64_t step);
  /// Collective. Copies and returns; false when both slots are busy on some rank or an earlier
  /// failure of another rank is still being settled (skipped and counted), or when the save could
  /// not begin (a loud warning). `tree` may change as soon as it returns.
  bool save(const StateTree& tree, CheckpointInfo info);
  /// Collective. Waits for what is under way, saves, and returns when it is durable. Throws
  /// Error(io) when it is not.
  void save_now(const StateTree& tree, CheckpointInfo info);
  /// Collective. Until nothing is under way; a failure of a periodic save has been warned of and is
  /// only counted.
  void wait();

  /// The step of the newest committed one (rank 0 at once, others after wait()), restored ones
  /// included.
  std::optional<std::int64_t> last_committed() const;
  SaveCounts counts() const;
  /// How long a save_now() would take from here: what is still under way, the copy, the disk at its
  /// slowest of late.
  Nanoseconds predicted_save() const;
  Nanoseconds last_stall() const;  ///< the training thread's wait in the last save()
  /// What the newest committed save cost: its stall, and the time from there until it was durable.
  /// Rank 0.
  std::optional<SaveCost> last_cost() const;
  bool is_direct() const;  ///< after prepare()
  const CheckpointStore& store() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// One file of a group commit: a trial's snapshot under its name.
struct GroupMember {
  std::string name;  ///< "0017": the file is 0017.h5
  const Snapshot* snapshot = nullptr;
};
/// Commits many small states as one checkpoint: one directory, one manifest, durable together. One
/// process, one rank each. Returns its path.
Path commit_group(const CheckpointStore& store, std::span<const GroupMember> members, Clock& clock,
                  bool direct = true);
/// Fills `tree` from the newest commit of `store` that holds `name` and is valid.
std::optional<Restored> restore_member(const CheckpointStore& store, const std::string& name,
                                       StateTree& tree, const CheckpointInfo& expected,
                                       Mover& mover = host_mover());

}  // namespace muster
