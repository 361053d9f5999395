// SPDX-License-Identifier: Apache-2.0
#include "hpo/region.h"

#include <algorithm>
#include <cmath>

namespace muster::hpo {
namespace {

constexpr double first_side = 0.8;
constexpr double least_side = 0.0078125;  // 2^-7
constexpr double most_side = 1.6;
constexpr std::size_t successes_to_grow = 3;
constexpr double least_gain = 1e-3;

}  // namespace

void Region::take_past(std::size_t end) {
  for (std::size_t i = 0; i < end; ++i) {
    if (!history_[i].failed && history_[i].source == 0 &&
        (!has_best_ || history_[i].value < history_[best_].value)) {
      best_ = i;
      has_best_ = true;
    }
  }
}

void Region::advance(std::size_t seen) {
  for (; at_ < seen; ++at_) {
    take(at_);
  }
}

void Region::take(std::size_t position) {
  const Observation& now = history_[position];
  if (now.source > 0) {
    return;
  }
  const bool was_gathering = is_gathering();
  ++gathered_;
  const double best = has_best_ ? history_[best_].value : 0.0;
  const bool is_better = !now.failed && (!has_best_ || now.value < best);
  const bool is_success =
      !now.failed && (!has_best_ || now.value < best - least_gain * std::abs(best));
  if (is_better) {
    best_ = position;
    has_best_ = true;
  }
  if (was_gathering) {
    return;
  }
  successes_ = is_success ? successes_ + 1 : 0;
  failures_ = is_success ? 0 : failures_ + 1;
  if (successes_ == successes_to_grow) {
    side_ = std::min(2.0 * side_, most_side);
    successes_ = 0;
  } else if (failures_ == failures_to_shrink_) {
    side_ *= 0.5;
    failures_ = 0;
  }
  if (side_ < least_side) {
    restart(position + 1);
  }
}

void Region::restart(std::size_t position) {
  side_ = first_side;
  successes_ = failures_ = gathered_ = 0;
  if (initial_ > 0) {
    ++restarts_;
    begin_ = position;
    has_best_ = false;
  }
}

Box Region::box(const std::vector<double>& centre, std::vector<double> lengths) const {
  double mean = 0.0;
  for (double length : lengths) {
    mean += std::log(length) / static_cast<double>(lengths.size());
  }
  Box box;
  for (std::size_t k = 0; k < centre.size(); ++k) {
    const double half = 0.5 * side_ * lengths[k] / std::exp(mean);
    const double middle = std::isnan(centre[k]) ? 0.5 : centre[k];
    box.low.push_back(std::isnan(centre[k]) ? 0.0 : std::clamp(middle - half, 0.0, 1.0));
    box.high.push_back(std::isnan(centre[k]) ? 1.0 : std::clamp(middle + half, 0.0, 1.0));
  }
  return box;
}

}  // namespace muster::hpo
