/// Interval: after how many steps to save again: a number of steps, a time, or `auto`, from what
/// saving was measured to cost. Pure arithmetic; the engine asks it on rank 0 and tells the others.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "runtime/base/clock.h"

namespace muster {

struct IntervalOptions {
  std::optional<std::int64_t> steps;  ///< every so many steps
  std::optional<double> seconds;      ///< or every so many seconds
  /// Neither given: automatic. Young's interval sqrt(2 C M), of cost C to the training thread and
  /// mean time between failures M, but never so often that C or the disk's work takes more than
  /// `budget` of the time (Daly 2006; CheckFreq, FAST 21).
  double failure_seconds = 24 * 3600;
  double budget = 0.01;
};

/// What one save cost.
struct SaveCost {
  double stall_seconds = 0;
  double persist_seconds = 0;
};

/// The automatic interval in seconds.
double automatic_interval(const IntervalOptions& options, const SaveCost& cost);
/// The time between saves, or nothing when it goes by steps. Until a cost is known, `auto` saves
/// after 10 s.
std::optional<double> interval_seconds(const IntervalOptions& options,
                                       const std::optional<SaveCost>& cost);

/// After how many steps to look at the clock again: half of the way there, so that no clock is read
/// and nothing agreed at most steps.
std::int64_t steps_until_look(double seconds_left, double seconds_per_step);

}  // namespace muster
