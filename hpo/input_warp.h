/// InputWarp: bends a coordinate in [0, 1] so that a stationary kernel fits it: the distribution
/// function of Kumaraswamy, w(u) = 1 - (1 - u^a)^b. a = b = 1 leaves it as it is.
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace muster::hpo {

struct InputWarp {
  double a = 1.0, b = 1.0;

  struct Point {
    double value, by_u, by_log_a, by_log_b;  ///< w(u) and its derivatives
  };
  Point at(double u) const;
  static constexpr double deviation = 0.5;  ///< of ln a and ln b under their prior, centred at 0
  static constexpr double most = 2.3;       ///< |ln a|, |ln b| at most
};

}  // namespace muster::hpo
