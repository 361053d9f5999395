// SPDX-License-Identifier: Apache-2.0
#include "hpo/completion.h"

#include <algorithm>
#include <cmath>

#include "runtime/base/text.h"

namespace muster::hpo {

void Completion::proposed(std::optional<double> expected_gain) {
  if (expected_gain) {
    negligible_ = *expected_gain < negligible_gain ? negligible_ + 1 : 0;
  }
}

void Completion::finished(double loss, bool is_first) {
  reported(loss);
  const bool improves = !reference_ || *reference_ - loss >= improvement * std::fabs(*reference_);
  if (improves && (!reference_ || loss < *reference_)) {
    reference_ = loss;
    stalled_ = 0;
  } else if (is_first) {
    ++stalled_;
  }
}

std::optional<std::string> Completion::no_more_trials(const Limits& limits,
                                                      const Spent& spent) const {
  if (limits.max_trials && static_cast<double>(spent.trials) >= *limits.max_trials) {
    return exact(*limits.max_trials) + " trials (tune.max_trials)";
  }
  return std::nullopt;
}

std::optional<std::string> Completion::all_over(const Limits& limits, const Spent& spent) const {
  if (limits.target && best_ && *best_ <= (maximise_ ? -*limits.target : *limits.target)) {
    return "a trial reached " + exact(*limits.target) + " (tune.target)";
  }
  if (limits.max_wall && spent.wall >= *limits.max_wall) {
    return exact(*limits.max_wall) + " s of wall time (tune.max_wall)";
  }
  if (limits.max_slot_hours && spent.slot_hours >= *limits.max_slot_hours) {
    return exact(*limits.max_slot_hours) + " slot hours (tune.max_slot_hours)";
  }
  if (limits.patience && static_cast<double>(stalled_) >= *limits.patience) {
    return "no improvement of 1 % in " + exact(*limits.patience) + " trials (tune.patience)";
  }
  if (limits.converged && negligible_ >= negligible_in_a_row) {
    return "the model expects no further gain (tune.converged)";
  }
  if (limits.max_failures && static_cast<double>(failures_) >= *limits.max_failures) {
    return exact(*limits.max_failures) + " failed trials (tune.max_failures)";
  }
  return std::nullopt;
}

double Completion::share(const Limits& limits, const Spent& spent) {
  double share = 0.0;
  const auto count = [&share](double used, const std::optional<double>& limit) {
    if (limit) {
      share = std::max(share, used / *limit);
    }
  };
  count(static_cast<double>(spent.trials), limits.max_trials);
  count(spent.wall, limits.max_wall);
  count(spent.slot_hours, limits.max_slot_hours);
  return std::min(share, 1.0);
}

}  // namespace muster::hpo
