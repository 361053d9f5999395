// SPDX-License-Identifier: Apache-2.0
#include "hpo/acquisition.h"

#include <cmath>
#include <numbers>

#include <gtest/gtest.h>

#include "hpo/normal.h"

namespace muster::hpo {
namespace {

/// ln of the integral of (u - z) phi(z) over z < u, by Simpson's rule in long double. With z = u -
/// t and phi(u - t) = phi(u) exp(u t - t^2 / 2), the factor phi(u) comes out and nothing
/// underflows.
double by_quadrature(double u) {
  const long double to =
      u < -1 ? 60.0L / -static_cast<long double>(u) : static_cast<long double>(u) + 14.0L;
  const int steps = 400'000;
  const long double width = to / steps;
  long double sum = 0;
  for (int i = 0; i <= steps; ++i) {
    const long double t = i * width;
    const long double f = t * std::exp(static_cast<long double>(u) * t - 0.5L * t * t);
    sum += f * (i == 0 || i == steps ? 1 : i % 2 == 1 ? 4 : 2);
  }
  const long double log_phi =
      -0.5L * u * u - 0.5L * std::log(2.0L * std::numbers::pi_v<long double>);
  return static_cast<double>(log_phi + std::log(sum * width / 3));
}

TEST(LogImprovement, EqualsQuadratureInEveryBranch) {
  for (const double u : {8.0, 2.5, 0.0, -0.5, -0.999999, -1.0, -1.000001, -1.7, -3.0, -4.3, -8.0,
                         -25.0, -49.99, -50.0, -50.01, -80.0, -1e3, -1e5}) {
    const double expected = by_quadrature(u);
    EXPECT_NEAR(log_improvement(u), expected, 1e-10 * std::max(1.0, std::abs(expected))) << u;
    if (u > -60) {
      EXPECT_NEAR(log_improvement(u), expected, 1e-10) << u;
    }
  }
}

TEST(LogImprovement, IsFiniteAndRisingEverywhere) {
  double last = -std::numeric_limits<double>::infinity();
  for (double u = -1e8; u < 20; u = u < -1 ? u * 0.97 : u + 0.01) {
    const double value = log_improvement(u);
    ASSERT_TRUE(std::isfinite(value)) << u;
    ASSERT_GT(value, last) << u;
    last = value;
  }
}

TEST(LogImprovement, SlopeEqualsDifferences) {
  for (double u = -200; u < 6; u += 0.37) {
    const double step = 1e-5 * std::max(1.0, std::abs(u));
    const double difference = (log_improvement(u + step) - log_improvement(u - step)) / (2 * step);
    EXPECT_NEAR(log_improvement_slope(u), difference, 1e-6 * std::abs(difference)) << u;
  }
  EXPECT_NEAR(log_improvement_slope(-1e7) / 1e7, 1.0, 1e-12);
}

TEST(ScaledErfc, EqualsItsDefinitionAndItsLimit) {
  for (double x = 0; x < 20; x += 0.1) {
    const long double exact =
        std::exp(static_cast<long double>(x) * x) * std::erfc(static_cast<long double>(x));
    EXPECT_NEAR(scaled_erfc(x) / static_cast<double>(exact), 1.0, 1e-13) << x;
  }
  EXPECT_NEAR(scaled_erfc(1e6) * 1e6 * std::sqrt(std::numbers::pi), 1.0, 1e-11);
}

}  // namespace
}  // namespace muster::hpo
