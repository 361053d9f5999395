/// RankFiles: the run's directory as a rank uses it. Where `muster` supervises, it owns the
/// directory: config.ini, status.json, the lock and the logs; a rank then writes metrics,
/// checkpoints, the model and whether it was on GPUs only. Started by mpirun or srun, rank 0 does
/// all of it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "runtime/base/file_system.h"
#include "runtime/config/job.h"
#include "runtime/config/load.h"

namespace muster {

class RankFiles {
 public:
  RankFiles(const JobSettings& job, int rank, bool is_supervised);

  const Path& root() const { return root_; }
  Path checkpoints() const { return root_ / "checkpoints"; }
  Path model() const { return root_ / "model"; }

  /// Rank 0 without a supervisor: checks that it is the same command as before and writes
  /// config.ini.
  void settle(const Keys& keys, const Resolved& resolved) const;
  /// Without a supervisor: lines go to log/rank-K.log too.
  void open_log() const;
  /// Rank 0 without a supervisor.
  void write_state(const std::string& state, std::uint64_t step, double epoch) const;
  void write_failure(const std::string& text) const;

  /// Whether it has trained on GPUs, the last time that it trained, and is not yet as far as it is
  /// told to go: kept by rank 0 in the file `gpus`.
  bool needs_gpus(const TrainSettings& train) const;
  void note_gpus() const;
  void note_finished_on_gpus(const TrainSettings& train) const;
  void forget_gpus() const;

  /// For runs that leave no checkpoint when they end (checkpoint.on_exit = false): how far they
  /// were told to go when they finished, in the file `finished`.
  void write_finished(const TrainSettings& train) const;
  /// Whether it finished before, told to go at least as far as now.
  bool has_finished(const TrainSettings& train) const;

 private:
  std::string name_;
  Path root_;
  int rank_;
  bool is_supervised_;
};

}  // namespace muster
