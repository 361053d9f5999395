/// minimise: L-BFGS within a box, from several starts in lockstep, so that the function sees all
/// starts at once (one matrix product instead of many vectors). Projected quasi-Newton steps with
/// an Armijo line search (Bertsekas 1982; Nocedal and Wright, chapter 7).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

namespace muster::hpo {

struct Box {
  std::vector<double> low, high;
};

struct MinimiseOptions {
  int evaluations = 60;     ///< of each start, at most
  double tolerance = 1e-6;  ///< stops where the value falls by less, relative to max(1, |value|)
  double gradient_tolerance = 1e-6;  ///< stops where no projected component exceeds it
};

struct Start {
  std::vector<double> point;
  double value = 0.0;
  bool is_active = true;  ///< still moving
};

/// Fills value and gradient of each of the points; a value that is not finite counts as a wall.
using BatchFunction =
    std::function<void(std::span<const std::vector<double>* const> points, std::span<double> values,
                       std::span<std::vector<double>> gradients)>;

/// Every start ends at the lowest point that it saw.
void minimise(const BatchFunction& function, const Box& box, std::vector<Start>& starts,
              const MinimiseOptions& options);

}  // namespace muster::hpo
