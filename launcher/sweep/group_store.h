/// GroupStore: the commits of many trials together, sweeps/NAME/checkpoints. Each lies in a store
/// of its own, because steps of different trials say nothing about which commit is newer. Workers
/// add, each for itself; only the sweep's owner tidies, while no worker runs.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/file_system.h"
#include "runtime/checkpoint/checkpoint_store.h"

namespace muster {

/// The file of a trial in a commit is this and ".h5".
std::string group_member_name(std::uint32_t trial);

class GroupStore {
 public:
  explicit GroupStore(Path directory) : directory_(std::move(directory)) {}

  /// For one commit that is to be made.
  CheckpointStore fresh() const;
  /// The commit in which this trial has gone furthest.
  struct Found {
    CheckpointStore store;
    std::int64_t step = 0;
  };
  std::optional<Found> furthest_of(std::uint32_t trial) const;
  /// Removes what is not the furthest commit of any of these trials.
  void tidy(const std::vector<std::uint32_t>& live) const;

 private:
  std::vector<Path> stores() const;
  Path directory_;
};

}  // namespace muster
