// SPDX-License-Identifier: Apache-2.0
#include "hpo/acquisition.h"

#include <cmath>
#include <numbers>

#include "hpo/normal.h"

namespace muster::hpo {
namespace {

const double half_log_two_pi = 0.5 * std::log(2.0 * std::numbers::pi);
constexpr double series_from = -50.0;

/// Mills' ratio (1 - Phi(x)) / phi(x) for x > 0.
double mills(double x) {
  return std::sqrt(0.5 * std::numbers::pi) * scaled_erfc(x / std::numbers::sqrt2);
}

/// u^2 (1 - |u| m(u)) for u far below 0.
double tail_series(double u) {
  const double w = 1.0 / (u * u);
  return 1.0 + w * (-3.0 + w * (15.0 + w * (-105.0 + w * (945.0 - w * 10395.0))));
}

}  // namespace

double scaled_erfc(double x) {
  if (x < 3.0) {
    return std::exp(x * x) * std::erfc(x);
  }
  double fraction = 0.0;  // sqrt(pi) erfcx(x) = 1 / (x + (1/2) / (x + (2/2) / (x + (3/2) / ...)))
  for (int k = 80; k >= 1; --k) {
    fraction = 0.5 * k / (x + fraction);
  }
  return 1.0 / (std::sqrt(std::numbers::pi) * (x + fraction));
}

double log_improvement(double u) {
  if (u > -1.0) {
    return std::log(normal_density(u) + u * normal_share(u));
  }
  if (u > series_from) {
    return -0.5 * u * u - half_log_two_pi + std::log1p(u * mills(-u));
  }
  return -0.5 * u * u - half_log_two_pi - 2.0 * std::log(-u) + std::log(tail_series(u));
}

double log_improvement_slope(double u) {
  if (u > -1.0) {
    return normal_share(u) / (normal_density(u) + u * normal_share(u));
  }
  if (u > series_from) {
    return mills(-u) / (1.0 + u * mills(-u));
  }
  return mills(-u) * u * u / tail_series(u);
}

}  // namespace muster::hpo
