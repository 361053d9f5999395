// SPDX-License-Identifier: Apache-2.0
#include "hpo/output_warp.h"

#include <cmath>
#include <numeric>

#include <gtest/gtest.h>

#include "hpo/normal.h"

namespace muster::hpo {
namespace {

void expect_standard(const std::vector<double>& values) {
  const double mean =
      std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
  double squares = 0;
  for (double y : values) {
    squares += (y - mean) * (y - mean);
  }
  EXPECT_NEAR(mean, 0.0, 1e-12);
  EXPECT_NEAR(squares / static_cast<double>(values.size()), 1.0, 1e-12);
}

TEST(OutputWarp, FiveValuesByHand) {
  // median 3; bad are 10 and 100 (ranks 2 and 1 of 2); s^2 = ((1-3)^2 + (2-3)^2 + 0) / 3
  const std::vector<double> warped =
      warp_outputs(std::vector<double>{1, 2, 3, 10, 100}, std::vector<bool>(5, false));
  const double s = std::sqrt(5.0 / 3.0);
  std::vector<double> expected{1, 2, 3, 3 - s * normal_quantile(0.5 * 1.5 / 2.5),
                               3 - s * normal_quantile(0.5 * 0.5 / 2.5)};
  const double range = expected[4] - 1;
  for (double& y : expected) {
    y = std::log1p(0.5 * (y - 1) / range) / std::log(1.5) - 0.5;
  }
  const double mean = std::accumulate(expected.begin(), expected.end(), 0.0) / 5;
  double variance = 0;
  for (double y : expected) {
    variance += (y - mean) * (y - mean) / 5;
  }
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_NEAR(warped[i], (expected[i] - mean) / std::sqrt(variance), 1e-12);
  }
}

TEST(OutputWarp, KeepsTheOrderAndTheTies) {
  const std::vector<double> values{3, 1e9, 2, 7, 7, -4, 1e3, 2};
  const std::vector<double> warped = warp_outputs(values, std::vector<bool>(8, false));
  for (std::size_t i = 0; i < 8; ++i) {
    for (std::size_t j = 0; j < 8; ++j) {
      EXPECT_EQ(values[i] < values[j], warped[i] < warped[j]) << i << " " << j;
    }
  }
  expect_standard(warped);
}

TEST(OutputWarp, AnOutlierAmongTheBadCostsNothing) {
  const std::vector<double> tame =
      warp_outputs(std::vector<double>{1, 2, 3, 4, 5}, std::vector<bool>(5, false));
  const std::vector<double> wild =
      warp_outputs(std::vector<double>{1, 2, 3, 4, 1e12}, std::vector<bool>(5, false));
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_DOUBLE_EQ(tame[i], wild[i]);
  }
}

TEST(OutputWarp, FailuresAreWorseThanEverything) {
  const std::vector<double> warped =
      warp_outputs(std::vector<double>{1, 0, 2, 3}, {false, true, false, false});
  EXPECT_GT(warped[1], warped[3]);
  expect_standard(warped);
}

TEST(OutputWarp, EqualValuesOnlyFailuresAndASingleValueAreHarmless) {
  EXPECT_EQ(warp_outputs(std::vector<double>{2, 2, 2}, std::vector<bool>(3, false)),
            (std::vector<double>{0, 0, 0}));
  EXPECT_EQ(warp_outputs(std::vector<double>{2, 2}, std::vector<bool>(2, true)),
            (std::vector<double>{0, 0}));
  EXPECT_EQ(warp_outputs(std::vector<double>{5}, std::vector<bool>(1, false)),
            (std::vector<double>{0}));
  EXPECT_TRUE(warp_outputs({}, {}).empty());
  for (double y : warp_outputs(std::vector<double>{2, 2, 0}, {false, false, true})) {
    EXPECT_TRUE(std::isfinite(y));
  }
}

TEST(OutputWarp, MovesWithTheScale) {
  const std::vector<double> values{0.1, 0.5, 0.2, 0.9, 0.3, 0.31};
  std::vector<double> scaled = values;
  for (double& y : scaled) {
    y = 1000 * y - 70;
  }
  const std::vector<double> a = warp_outputs(values, std::vector<bool>(6, false));
  const std::vector<double> b = warp_outputs(scaled, std::vector<bool>(6, false));
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_NEAR(a[i], b[i], 1e-12);
  }
}

}  // namespace
}  // namespace muster::hpo
