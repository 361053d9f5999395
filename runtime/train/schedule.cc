// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace muster {
namespace {

// From `from` to `to` along half a cosine; `share` in [0, 1].
double half_cosine(double from, double to, double share) {
  return to + (from - to) * 0.5 * (1.0 + std::cos(std::numbers::pi * share));
}

double share_of(std::uint64_t step, std::uint64_t total) {
  return total == 0 ? 1.0 : std::min(1.0, static_cast<double>(step) / static_cast<double>(total));
}

double one_cycle(const ScheduleRule& rule, double share) {
  const double start = rule.rate / rule.start_divisor;
  if (share < rule.rise_share) {
    return half_cosine(start, rule.rate, share / rule.rise_share);
  }
  const double left = 1.0 - rule.rise_share;
  return half_cosine(rule.rate, start / rule.final_divisor,
                     left <= 0 ? 1.0 : (share - rule.rise_share) / left);
}

}  // namespace

double rate_at(const ScheduleRule& rule, std::uint64_t step) {
  if (step < rule.warmup_steps) {
    return rule.rate * static_cast<double>(step + 1) / static_cast<double>(rule.warmup_steps);
  }
  const std::uint64_t after = step - rule.warmup_steps;
  const std::uint64_t total =
      rule.total_steps > rule.warmup_steps ? rule.total_steps - rule.warmup_steps : 0;
  switch (rule.kind) {
    case ScheduleRule::Kind::constant:
      return rule.rate;
    case ScheduleRule::Kind::step:
      return rule.rate * std::pow(rule.factor, static_cast<double>(
                                                   after / std::max<std::uint64_t>(1, rule.every)));
    case ScheduleRule::Kind::cosine:
      return half_cosine(rule.rate, rule.rate * rule.final_share, share_of(after, total));
    case ScheduleRule::Kind::one_cycle:
      return one_cycle(rule, share_of(after, total));
  }
  return rule.rate;
}

}  // namespace muster
