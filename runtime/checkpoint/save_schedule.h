/// SaveSchedule: at which steps to save. Ranks agree at a few steps that all of them know
/// beforehand, never at every one: half of the steps that seem to be left, and no more than twice
/// as many as since the look before, for a run may become slower at any time.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "runtime/base/clock.h"
#include "runtime/checkpoint/interval.h"
#include "runtime/comm/communicator.h"

namespace muster {

class SaveSchedule {
 public:
  SaveSchedule(IntervalOptions options, Communicator& group, Clock& clock);

  /// Collective at the steps where it looks. `cost` is what rank 0 knows.
  bool due(std::int64_t step, const std::optional<SaveCost>& cost);

 private:
  /// Rank 0's view at `step`: save now, and when to look again.
  void look(std::int64_t step, const std::optional<SaveCost>& cost, bool& save, std::int64_t& next);

  IntervalOptions options_;
  Communicator& group_;
  Clock& clock_;
  Monotonic last_save_;
  Monotonic last_look_;
  std::int64_t last_step_ = -1;
  std::int64_t next_look_ = 0;
};

}  // namespace muster
