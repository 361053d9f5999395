// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/save_schedule.h"

#include <algorithm>
#include <array>

#include "runtime/base/error.h"
#include "runtime/checkpoint/agreement.h"

namespace muster {

SaveSchedule::SaveSchedule(IntervalOptions options, Communicator& group, Clock& clock)
    : options_(options),
      group_(group),
      clock_(clock),
      last_save_(clock.now()),
      last_look_(last_save_) {
  require(!options.steps || *options.steps > 0, "a checkpoint every 0 steps");
}

bool SaveSchedule::due(std::int64_t step, const std::optional<SaveCost>& cost) {
  if (options_.steps) {
    return step % *options_.steps == 0;
  }
  if (step < next_look_) {
    return false;
  }
  bool save = false;
  std::int64_t next = 0;
  if (group_.rank() == 0) {
    look(step, cost, save, next);
  }
  std::array<std::int64_t, 2> agreed{save ? 1 : 0, next};
  agree_on_max(group_, agreed);
  next_look_ = agreed[1];
  return agreed[0] != 0;
}

void SaveSchedule::look(std::int64_t step, const std::optional<SaveCost>& cost, bool& save,
                        std::int64_t& next) {
  using Seconds = std::chrono::duration<double>;
  const auto now = clock_.now();
  const double interval = interval_seconds(options_, cost).value();
  double left = interval - Seconds(now - last_save_).count();
  save = left <= 0;
  if (save) {
    last_save_ = now;
    left = interval;
  }
  const bool knows_pace = last_step_ >= 0 && step > last_step_;
  const std::int64_t done = knows_pace ? step - last_step_ : 1;
  const double pace =
      knows_pace ? Seconds(now - last_look_).count() / static_cast<double>(done) : left;
  last_look_ = now;
  last_step_ = step;
  // Never on more than twice the steps of the last look: what follows may be a hundred times
  // slower.
  next = step + std::min(steps_until_look(left, pace), 2 * done);
}

}  // namespace muster
