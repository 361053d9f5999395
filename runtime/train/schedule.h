/// ScheduleRule: how the learning rate moves. The rate is a pure function of (rule, step), so
/// nothing but the step is ever saved. Steps count from 0. Warm-up is linear from rate /
/// warmup_steps and comes before the rule's own clock starts.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

namespace muster {

struct ScheduleRule {
  enum class Kind { constant, step, cosine, one_cycle };
  Kind kind = Kind::constant;
  double rate = 0.1;  ///< the peak
  std::uint64_t warmup_steps = 0;
  double warmup_from = 0;         ///< share of `rate` that warm-up starts above
  std::uint64_t total_steps = 0;  ///< cosine and one_cycle end here and stay at their last rate
  std::uint64_t every = 1;        ///< step: times `factor` after each so many steps ...
  std::vector<std::uint64_t> milestones;  ///< ... or, if there are any, after each of these steps
  double factor = 0.1;
  double final_share = 0;    ///< cosine and one_cycle end at rate * final_share
  double peak_at = 0.3;      ///< one_cycle: share of the steps until the peak
  double start_share = 0.04; ///< one_cycle: starts at rate * start_share
};

double rate_at(const ScheduleRule& rule, std::uint64_t step);

}  // namespace muster
