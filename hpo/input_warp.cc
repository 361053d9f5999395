// SPDX-License-Identifier: Apache-2.0
#include "hpo/input_warp.h"

#include <algorithm>
#include <cmath>

namespace muster::hpo {

InputWarp::Point InputWarp::at(double u) const {
  constexpr double edge = 1e-7;
  u = std::clamp(u, edge, 1.0 - edge);
  const double log_u = std::log(u);
  const double p = std::exp(a * log_u);  // u^a
  const double q = -std::expm1(a * log_u);
  const double log_q = std::log(q);
  const double r = std::exp((b - 1.0) * log_q);  // (1 - u^a)^(b - 1)
  return {.value = 1.0 - r * q,
          .by_u = a * b * r * p / u,
          .by_log_a = a * b * r * p * log_u,
          .by_log_b = -b * r * q * log_q};
}

}  // namespace muster::hpo
