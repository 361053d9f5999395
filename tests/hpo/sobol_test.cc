// SPDX-License-Identifier: Apache-2.0
#include "hpo/sobol.h"

#include <cmath>
#include <set>

#include <gtest/gtest.h>

namespace muster::hpo {
namespace {

TEST(Sobol, PrimitivePolynomialsAreTheKnownOnes) {
  EXPECT_EQ(primitive_polynomials(13),
            (std::vector<std::uint32_t>{3, 7, 11, 13, 19, 25, 37, 41, 47, 55, 59, 61, 67}));
  // phi(2^n - 1) / n of degree n: 1, 1, 2, 2, 6, 6, 18, 16, 48
  EXPECT_LT(primitive_polynomials(52).back(), 512U);
  EXPECT_GT(primitive_polynomials(53).back(), 512U);
}

TEST(Sobol, FirstPointsWithoutScramblingAreTheTextbooks) {
  const Sobol sobol(3, 0, false);
  const double expected[4][3] = {
      {0, 0, 0}, {0.5, 0.5, 0.5}, {0.75, 0.25, 0.25}, {0.25, 0.75, 0.75}};
  for (std::uint64_t i = 0; i < 4; ++i) {
    for (std::size_t k = 0; k < 3; ++k) {
      EXPECT_NEAR(sobol.at(i)[k], expected[i][k], 1e-9);
    }
  }
}

/// Each of the 2^m cells of every one-dimensional projection holds exactly one of the first 2^m
/// points.
TEST(Sobol, EveryProjectionIsStratifiedToHundredDimensions) {
  for (const bool scrambled : {false, true}) {
    const Sobol sobol(100, 42, scrambled);
    std::vector<std::set<int>> cells(100);
    for (std::uint64_t i = 0; i < 256; ++i) {
      const std::vector<double> point = sobol.at(i);
      for (std::size_t k = 0; k < 100; ++k) {
        ASSERT_GT(point[k], 0.0);
        ASSERT_LT(point[k], 1.0);
        cells[k].insert(static_cast<int>(point[k] * 256));
      }
    }
    for (const std::set<int>& cell : cells) {
      EXPECT_EQ(cell.size(), 256U);
    }
  }
}

TEST(Sobol, TheFirstTwoDimensionsAreANetInEveryShapeOfBox) {
  const Sobol sobol(2, 7);
  for (int a = 0; a <= 8; ++a) {
    std::set<std::pair<int, int>> boxes;
    for (std::uint64_t i = 0; i < 256; ++i) {
      const std::vector<double> point = sobol.at(i);
      boxes.emplace(static_cast<int>(std::ldexp(point[0], a)),
                    static_cast<int>(std::ldexp(point[1], 8 - a)));
    }
    EXPECT_EQ(boxes.size(), 256U) << "2^" << a << " by 2^" << 8 - a;
  }
}

TEST(Sobol, SeedsGiveOtherPointsAndTheSameSeedTheSame) {
  EXPECT_EQ(Sobol(5, 1).at(77), Sobol(5, 1).at(77));
  EXPECT_NE(Sobol(5, 1).at(77), Sobol(5, 2).at(77));
}

TEST(Sobol, IntegratesBetterThanRandomPoints) {
  const Sobol sobol(8, 3);
  double sum = 0;
  constexpr int count = 4096;
  for (std::uint64_t i = 0; i < count; ++i) {
    double product = 1;
    for (double x : sobol.at(i)) {
      product *= 1.0 + (x - 0.5) / 2;
    }
    sum += product;
  }
  EXPECT_NEAR(sum / count, 1.0, 1e-3);  // random points would be off by 6e-3
}

}  // namespace
}  // namespace muster::hpo
