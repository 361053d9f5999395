// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/residency.h"

#include <algorithm>

namespace muster {
namespace {

constexpr double worth_it = 1.05;
constexpr std::chrono::seconds shortest_window{2};
constexpr std::size_t reports_each = 4;

}  // namespace

void Residency::begin(Monotonic now) {
  has_begun_ = true;
  begun_ = now;
  amount_ = 0;
  reports_ = 0;
}

void Residency::measure(std::size_t residents, double amount, Monotonic now) {
  if (is_settled_) {
    return;
  }
  if (residents != wanted_ || !has_begun_) {  // between two trials nothing is measured
    begin(now);
    has_begun_ = residents == wanted_;
    return;
  }
  amount_ += amount;
  ++reports_;
  if (now - begun_ >= shortest_window && reports_ >= reports_each * wanted_) {
    judge(amount_ / std::chrono::duration<double>(now - begun_).count());
    has_begun_ = false;
  }
}

void Residency::judge(double rate) {
  if (rate_before_ > 0 && rate < worth_it * rate_before_) {
    --wanted_;
    is_settled_ = true;
    return;
  }
  rate_before_ = rate;
  is_settled_ = wanted_ >= most_;
  wanted_ += is_settled_ ? 0 : 1;
}

void Residency::did_not_fit(std::size_t most) {
  most_ = std::max<std::size_t>(1, std::min(most_, most));
  wanted_ = std::min(wanted_, most_);
  is_settled_ = true;
}

void Residency::set_memory(std::uint64_t each, std::uint64_t all) {
  const auto fits = static_cast<std::size_t>(0.95 * static_cast<double>(all) /
                                             std::max(1.0, 1.1 * static_cast<double>(each)));
  most_ = std::min(most_, std::max<std::size_t>(1, fits));
  wanted_ = std::min(wanted_, most_);
}

}  // namespace muster
