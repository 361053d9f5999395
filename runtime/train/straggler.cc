// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/straggler.h"

#include <fmt/format.h>

#include <algorithm>

namespace muster {
namespace {

double median_of(std::span<const std::int64_t> values) {
  std::vector<std::int64_t> sorted(values.begin(), values.end());
  std::ranges::sort(sorted);
  const std::size_t half = sorted.size() / 2;
  const auto upper = static_cast<double>(sorted[half]);
  return sorted.size() % 2 == 1 ? upper : 0.5 * (upper + static_cast<double>(sorted[half - 1]));
}

}  // namespace

std::optional<std::string> Straggler::on_step(std::uint64_t step,
                                              std::span<const std::int64_t> busy_ns) {
  if (busy_ns.size() < 2) {
    return std::nullopt;
  }
  spells_.resize(busy_ns.size());
  const double median = median_of(busy_ns);
  std::optional<std::string> sentence;
  for (std::size_t rank = 0; rank < busy_ns.size(); ++rank) {
    Spell& spell = spells_[rank];
    const double over = median > 0 ? static_cast<double>(busy_ns[rank]) / median : 0;
    if (over <= tolerated) {
      spell = {};
      continue;
    }
    ++spell.steps;
    spell.over += over;
    if (spell.steps == patience) {
      sentence = fmt::format(
          "rank {} is slow: {:.2f} times the median of all ranks over the last {} steps (step {}); "
          "all others wait for it",
          rank, spell.over / patience, patience, step);
    }
  }
  return sentence;
}

}  // namespace muster
