/// EngineKeeper: brings the trainer's state to the checkpoint engine, and tells the control page
/// what stands on the disk.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "runtime/checkpoint/checkpoint_engine.h"
#include "runtime/comm/control_page.h"
#include "runtime/config/job.h"
#include "runtime/train/trainer.h"

namespace muster {

EngineOptions engine_options(const CheckpointSettings& settings, const Path& directory);

class EngineKeeper final : public StateKeeper {
 public:
  /// `info` gives settings and environment; `before_save` makes durable what a checkpoint counts on
  /// (the metrics).
  EngineKeeper(CheckpointEngine& engine, const CheckpointSettings& settings, ControlHeader& control,
               std::function<CheckpointInfo()> info, std::function<void()> before_save);

  bool due(std::uint64_t step) override;
  void save(const StateTree& tree, std::uint64_t step, std::optional<double> score) override;
  /// Durable when it returns.
  void save_now(const StateTree& tree);

 private:
  void show_committed();
  CheckpointEngine& engine_;
  bool is_periodic_;
  bool is_async_;
  ControlHeader& control_;
  std::function<CheckpointInfo()> info_;
  std::function<void()> before_save_;
};

}  // namespace muster
