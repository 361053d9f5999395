/// LaneTeam: the ranks that train one trial together. A lane alone is a team of one; where a sweep
/// is one MPI world, several of its ranks are (trial.ranks). Made and ended on the lane's thread.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>

#include "runtime/comm/control_page.h"
#include "runtime/config/job.h"
#include "runtime/train/exchange.h"
#include "runtime/train/gpu_step.h"

namespace muster {

class LaneTeam {
 public:
  virtual ~LaneTeam() = default;
  virtual RankGroups groups() = 0;
  virtual ControlHeader& control() = 0;  ///< how the trainer learns of a stop between reports
  virtual RankSlot* slot() { return nullptr; }
  /// Its ranks' GPUs, where there are several; empty on the CPU. Collective, once.
  virtual GpuParts gpu(const TrainSettings& /*train*/) { return {}; }
  /// Collective: all is well, and nobody needs the others any more.
  virtual void finish() {}
};

std::unique_ptr<LaneTeam> team_of_one();
/// Collective over the ranks that will be in it.
using OpenTeam = std::function<std::unique_ptr<LaneTeam>()>;

}  // namespace muster
