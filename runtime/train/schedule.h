/// ScheduleRule: how the learning rate moves. The rate is a pure function of (rule, step), so
/// nothing but the step is ever saved. Steps count from 0. Warm-up is linear from rate /
/// warmup_steps and comes before the rule's own clock starts.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace muster {

struct ScheduleRule {
  enum class Kind { constant, step, cosine, one_cycle };
  Kind kind = Kind::constant;
  double rate = 0.1;  ///< the peak
  std::uint64_t warmup_steps = 0;
  std::uint64_t total_steps = 0;  ///< cosine and one_cycle end here and stay at their last rate
  std::uint64_t every = 1;        ///< step: multiplied by `factor` after each so many steps
  double factor = 0.1;
  double final_share = 0.0;     ///< cosine ends at rate * final_share
  double rise_share = 0.3;      ///< one_cycle: share of the steps in which the rate rises
  double start_divisor = 25.0;  ///< one_cycle starts at rate / start_divisor
  double final_divisor = 1e4;   ///< and ends at that start / final_divisor
};

double rate_at(const ScheduleRule& rule, std::uint64_t step);

}  // namespace muster
