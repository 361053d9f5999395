// SPDX-License-Identifier: Apache-2.0
#include "hpo/normal.h"

#include <cmath>

#include <gtest/gtest.h>

namespace muster::hpo {
namespace {

TEST(Normal, QuantileUndoesTheShareFarIntoTheTail) {
  for (double x = -37.0; x <= 8.0; x += 0.01) {
    EXPECT_NEAR(normal_quantile(normal_share(x)), x,
                1e-10 * std::max(1.0, std::abs(x)) + (x > 5 ? 1e-16 / normal_density(x) : 0))
        << x;
  }
}

TEST(Normal, KnownQuantiles) {
  EXPECT_NEAR(normal_quantile(0.5), 0.0, 1e-15);
  EXPECT_NEAR(normal_quantile(0.975), 1.959963984540054, 1e-14);
  EXPECT_NEAR(normal_quantile(1e-10), -6.361340902404056, 1e-13);
}

}  // namespace
}  // namespace muster::hpo
