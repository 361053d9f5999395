// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/interval.h"

#include <algorithm>
#include <cmath>

namespace muster {

double automatic_interval(const IntervalOptions& options, const SaveCost& cost) {
  const double young = std::sqrt(2 * cost.stall_seconds * options.failure_seconds);
  const double bound = std::max(cost.stall_seconds, cost.persist_seconds) / options.budget;
  return std::max(young, bound);
}

std::optional<double> interval_seconds(const IntervalOptions& options,
                                       const std::optional<SaveCost>& cost) {
  if (options.steps) {
    return std::nullopt;
  }
  if (options.seconds) {
    return options.seconds;
  }
  constexpr double first_seconds = 10;
  return cost ? automatic_interval(options, *cost) : first_seconds;
}

std::int64_t steps_until_look(double seconds_left, double seconds_per_step) {
  constexpr double most = 1e6;
  const double steps = seconds_left / std::max(seconds_per_step, 1e-9) / 2;
  return static_cast<std::int64_t>(std::clamp(steps, 1.0, most));
}

}  // namespace muster
