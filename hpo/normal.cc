// SPDX-License-Identifier: Apache-2.0
#include "hpo/normal.h"

#include <cmath>
#include <limits>
#include <numbers>

namespace muster::hpo {
namespace {

/// A start good to 5e-4 (Abramowitz and Stegun 26.2.23) for shares up to one half.
double rough_quantile(double share) {
  const double t = std::sqrt(-2.0 * std::log(share));
  return -(t - (2.515517 + t * (0.802853 + t * 0.010328)) /
                   (1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308))));
}

}  // namespace

double normal_density(double x) {
  return std::exp(-0.5 * x * x) / std::sqrt(2.0 * std::numbers::pi);
}

double normal_share(double x) {
  return 0.5 * std::erfc(-x / std::numbers::sqrt2);
}

double normal_quantile(double share) {
  if (share <= 0.0 || share >= 1.0) {
    return share <= 0.0 ? -std::numeric_limits<double>::infinity()
                        : std::numeric_limits<double>::infinity();
  }
  if (share > 0.5) {
    return -normal_quantile(1.0 - share);
  }
  double x = rough_quantile(share);
  for (int i = 0; i < 3; ++i) {  // Halley's step: the error is cubed each time
    const double step = (normal_share(x) - share) / normal_density(x);
    x -= step / (1.0 + 0.5 * x * step);
  }
  return x;
}

}  // namespace muster::hpo
