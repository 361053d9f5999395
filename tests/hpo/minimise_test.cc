// SPDX-License-Identifier: Apache-2.0
#include "hpo/minimise.h"

#include <cmath>

#include <gtest/gtest.h>

namespace muster::hpo {
namespace {

using Function = double (*)(const std::vector<double>&, std::vector<double>&);

BatchFunction batch(Function function, int* calls = nullptr) {
  return [function, calls](std::span<const std::vector<double>* const> points,
                           std::span<double> values, std::span<std::vector<double>> gradients) {
    for (std::size_t i = 0; i < points.size(); ++i) {
      values[i] = function(*points[i], gradients[i]);
    }
    if (calls != nullptr) {
      ++*calls;
    }
  };
}

double rosenbrock(const std::vector<double>& x, std::vector<double>& g) {
  const double b = x[1] - x[0] * x[0];
  g = {-400 * x[0] * b - 2 * (1 - x[0]), 200 * b};
  return 100 * b * b + (1 - x[0]) * (1 - x[0]);
}

double bowl(const std::vector<double>& x, std::vector<double>& g) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double weight = static_cast<double>(i + 1);
    g[i] = 2 * weight * (x[i] - 2);
    sum += weight * (x[i] - 2) * (x[i] - 2);
  }
  return sum;
}

TEST(Minimise, FollowsACurvedValley) {
  std::vector<Start> starts{{{-1.2, 1.0}, 0, true}, {{0.0, 0.0}, 0, true}};
  minimise(batch(rosenbrock), {{-2, -2}, {2, 2}}, starts,
           {.evaluations = 200, .tolerance = 1e-14, .gradient_tolerance = 1e-8});
  for (const Start& start : starts) {
    EXPECT_NEAR(start.point[0], 1.0, 1e-4);
    EXPECT_NEAR(start.point[1], 1.0, 1e-4);
  }
}

TEST(Minimise, StopsAtTheWallsOfTheBox) {
  std::vector<Start> starts{{{0.1, 0.9, 0.5}, 0, true}};
  minimise(batch(bowl), {{0, 0, 0}, {1, 3, 1.5}}, starts, {});
  EXPECT_DOUBLE_EQ(starts[0].point[0], 1.0);
  EXPECT_NEAR(starts[0].point[1], 2.0, 1e-3);
  EXPECT_DOUBLE_EQ(starts[0].point[2], 1.5);
  EXPECT_FALSE(starts[0].is_active);
}

TEST(Minimise, GoesInLockstepAndKeepsItsBudget) {
  std::vector<Start> starts(5, {{-1.2, 1.0}, 0, true});
  int calls = 0;
  minimise(batch(rosenbrock, &calls), {{-2, -2}, {2, 2}}, starts,
           {.evaluations = 17, .tolerance = 0, .gradient_tolerance = 0});
  EXPECT_EQ(calls, 17);
}

TEST(Minimise, NeverEndsAboveWhereItBegan) {
  std::vector<Start> starts{{{1.0, 1.0}, 0, true}, {{2.0, -2.0}, 0, true}};
  minimise(batch(rosenbrock), {{-2, -2}, {2, 2}}, starts,
           {.evaluations = 3, .tolerance = 1e-9, .gradient_tolerance = 1e-9});
  EXPECT_DOUBLE_EQ(starts[0].value, 0.0);
  EXPECT_LE(starts[1].value, 3601.0);
}

TEST(Minimise, APointThatCannotBeEvaluatedIsAWall) {
  const BatchFunction half = [](std::span<const std::vector<double>* const> points,
                                std::span<double> values,
                                std::span<std::vector<double>> gradients) {
    for (std::size_t i = 0; i < points.size(); ++i) {
      const double x = (*points[i])[0];
      values[i] = x > 0.7 ? std::nan("") : -x;
      gradients[i] = {-1.0};
    }
  };
  std::vector<Start> starts{{{0.1}, 0, true}};
  minimise(half, {{0}, {1}}, starts, {});
  EXPECT_GT(starts[0].point[0], 0.5);
  EXPECT_LE(starts[0].point[0], 0.7);
}

}  // namespace
}  // namespace muster::hpo
