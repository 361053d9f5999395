// SPDX-License-Identifier: Apache-2.0
#include "hpo/input_warp.h"

#include <gtest/gtest.h>

#include <cmath>

namespace muster::hpo {
namespace {

TEST(InputWarp, OnesLeaveTheCoordinateAsItIs) {
  for (const double u : {1e-6, 0.1, 0.5, 0.93, 1.0 - 1e-6}) {
    const InputWarp::Point point = InputWarp{}.at(u);
    EXPECT_NEAR(point.value, u, 1e-15);
    EXPECT_NEAR(point.by_u, 1.0, 1e-12);
  }
}

TEST(InputWarp, IsTheDistributionFunctionOfKumaraswamy) {
  EXPECT_NEAR((InputWarp{2.0, 3.0}.at(0.5).value), 1.0 - std::pow(1.0 - 0.25, 3.0), 1e-15);
  for (const InputWarp warp : {InputWarp{0.1, 10.0}, InputWarp{10.0, 0.1}}) {
    EXPECT_NEAR(warp.at(0.0).value, 0.0, 0.9);
    EXPECT_LE(warp.at(0.2).value, warp.at(0.8).value);
    EXPECT_TRUE(std::isfinite(warp.at(0.0).by_u) && std::isfinite(warp.at(1.0).by_u));
    EXPECT_TRUE(std::isfinite(warp.at(0.0).by_log_a) && std::isfinite(warp.at(1.0).by_log_b));
  }
}

TEST(InputWarp, SlopesEqualDifferences) {
  const auto value = [](double log_a, double log_b, double u) {
    return InputWarp{std::exp(log_a), std::exp(log_b)}.at(u).value;
  };
  constexpr double h = 1e-6;
  for (const double log_a : {-1.5, 0.0, 0.8}) {
    for (const double log_b : {-0.9, 0.0, 1.7}) {
      for (const double u : {0.02, 0.4, 0.97}) {
        const InputWarp::Point at = InputWarp{std::exp(log_a), std::exp(log_b)}.at(u);
        const auto near = [&](double slope, double up, double down) {
          EXPECT_NEAR(slope, (up - down) / (2 * h), 1e-6 * std::max(1.0, std::abs(slope)));
        };
        near(at.by_u, value(log_a, log_b, u + h), value(log_a, log_b, u - h));
        near(at.by_log_a, value(log_a + h, log_b, u), value(log_a - h, log_b, u));
        near(at.by_log_b, value(log_a, log_b + h, u), value(log_a, log_b - h, u));
      }
    }
  }
}

}  // namespace
}  // namespace muster::hpo
