/// Straggler: says which rank is slow: 1.25 times the median of all for 50 steps in a row. One
/// sentence for each spell.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace muster {

class Straggler {
 public:
  static constexpr double tolerated = 1.25;
  static constexpr int patience = 50;
  /// The time each rank was busy in this step (waiting for others left out).
  std::optional<std::string> on_step(std::uint64_t step, std::span<const std::int64_t> busy_ns);

 private:
  struct Spell {
    int steps = 0;
    double over = 0;  ///< sum of busy / median
  };
  std::vector<Spell> spells_;
};

}  // namespace muster
