// SPDX-License-Identifier: Apache-2.0
#include "hpo/gaussian_process.h"

#include <cmath>
#include <numbers>

#include <gtest/gtest.h>

#include "hpo/evidence.h"
#include "runtime/base/random.h"

namespace muster::hpo {
namespace {

double matern(double r, double signal) {
  const double a = std::sqrt(5.0) * r;
  return signal * (1 + a + a * a / 3) * std::exp(-a);
}

Matrix points_of(const std::vector<std::vector<double>>& rows) {
  Matrix points(rows.size(), rows.front().size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::ranges::copy(rows[i], points.row(i));
  }
  return points;
}

Matrix random_points(std::size_t count, std::size_t dimensions, std::uint64_t seed) {
  Random random(seed, 0);
  Matrix points(count, dimensions);
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t k = 0; k < dimensions; ++k) {
      points(i, k) = random.uniform();
    }
  }
  return points;
}

std::vector<double> wavy(const Matrix& points) {
  std::vector<double> values(points.rows());
  for (std::size_t i = 0; i < points.rows(); ++i) {
    values[i] = std::sin(5 * points(i, 0)) + points(i, 1) * points(i, 1) -
                0.3 * points(i, points.columns() - 1);
  }
  return values;
}

Theta theta_of(std::size_t dimensions, double length, double signal, double noise) {
  Theta theta(dimensions + 2, std::log(length));
  theta[dimensions] = std::log(signal);
  theta[dimensions + 1] = std::log(noise);
  return theta;
}

TEST(GaussianProcess, OnePointHasTheClosedForm) {
  GaussianProcess model(KernelShape::of(1), theta_of(1, 0.5, 2.0, 0.1));
  model.append(std::vector<double>{0.3});
  model.set_values(std::vector<double>{1.5});
  GaussianProcess::Answer answer;
  model.ask(points_of({{0.3}, {0.8}}), answer, false);
  for (std::size_t i = 0; i < 2; ++i) {
    const double k = matern(i == 0 ? 0.0 : 1.0, 2.0);
    EXPECT_NEAR(answer.means[i], k / 2.1 * 1.5, 1e-13);
    EXPECT_NEAR(answer.deviations[i], std::sqrt(2.0 - k * k / 2.1), 1e-13);
  }
}

TEST(GaussianProcess, TwoPointsHaveTheClosedForm) {
  const double signal = 1.3;
  const double noise = 0.05;
  GaussianProcess model(KernelShape::of(2), theta_of(2, 0.4, signal, noise));
  model.append_all(points_of({{0.1, 0.2}, {0.5, 0.9}}));
  model.set_values(std::vector<double>{0.7, -0.4});
  GaussianProcess::Answer answer;
  model.ask(points_of({{0.3, 0.3}}), answer, false);
  const auto k = [&](double x, double y, double a, double b) {
    return matern(std::hypot(x - a, y - b) / 0.4, signal);
  };
  const double c = k(0.1, 0.2, 0.5, 0.9);
  const double p = k(0.3, 0.3, 0.1, 0.2);
  const double q = k(0.3, 0.3, 0.5, 0.9);
  const double d = signal + noise;
  const double determinant = d * d - c * c;
  EXPECT_NEAR(answer.means[0], (p * (d * 0.7 + c * 0.4) + q * (-c * 0.7 - d * 0.4)) / determinant,
              1e-13);
  EXPECT_NEAR(answer.deviations[0],
              std::sqrt(signal - (p * (d * p - c * q) + q * (d * q - c * p)) / determinant), 1e-13);
}

TEST(GaussianProcess, InterpolatesWhenThereIsNoNoise) {
  const Matrix points = random_points(80, 3, 1);
  const std::vector<double> values = wavy(points);
  GaussianProcess model(KernelShape::of(3), theta_of(3, 0.5, 1.0, 1e-6));
  model.append_all(points);
  model.set_values(values);
  GaussianProcess::Answer answer;
  model.ask(points, answer, false);
  for (std::size_t i = 0; i < 80; ++i) {
    EXPECT_NEAR(answer.means[i], values[i], 1e-3);
    EXPECT_LT(answer.deviations[i], 2e-3);
  }
}

TEST(GaussianProcess, RowByRowEqualsAllAtOnceAndTakingBackEqualsNeverHaving) {
  const Matrix points = random_points(130, 4, 2);
  const std::vector<double> values = wavy(points);
  const Theta theta = theta_of(4, 0.6, 1.2, 1e-3);
  GaussianProcess whole(KernelShape::of(4), theta);
  whole.append_all(points);
  whole.set_values(values);
  GaussianProcess grown(KernelShape::of(4), theta);
  for (std::size_t i = 0; i < 130; ++i) {
    grown.append({points.row(i), 4});
    if (i == 70) {
      grown.append(std::vector<double>{0.5, 0.5, 0.5, 0.5});
      grown.truncate(71);
    }
  }
  grown.set_values(values);
  const Matrix places = random_points(20, 4, 3);
  GaussianProcess::Answer a;
  GaussianProcess::Answer b;
  whole.ask(places, a, false);
  grown.ask(places, b, false);
  for (std::size_t i = 0; i < 20; ++i) {
    EXPECT_NEAR(a.means[i], b.means[i], 1e-9);
    EXPECT_NEAR(a.deviations[i], b.deviations[i], 1e-9);
  }
}

TEST(GaussianProcess, PendingPointsNarrowTheDeviationAndLeaveTheMean) {
  GaussianProcess model(KernelShape::of(1), theta_of(1, 0.3, 1.0, 1e-4));
  model.append(std::vector<double>{0.1});
  model.set_values(std::vector<double>{1.0});
  const Matrix place = points_of({{0.6}});
  GaussianProcess::Answer before;
  GaussianProcess::Answer after;
  model.ask(place, before, false);
  model.append(std::vector<double>{0.62});
  model.ask(place, after, false);
  EXPECT_DOUBLE_EQ(before.means[0], after.means[0]);
  EXPECT_LT(after.deviations[0], 0.2 * before.deviations[0]);
}

struct Form {
  bool is_additive = false, is_warped = false;
  friend void PrintTo(const Form& form, std::ostream* out) {
    *out << (form.is_additive ? "additive" : "whole") << (form.is_warped ? ", warped" : "");
  }
};
const Form forms[]{{false, false}, {false, true}, {true, false}, {true, true}};

class GaussianProcessGradients : public testing::TestWithParam<Form> {};
INSTANTIATE_TEST_SUITE_P(Forms, GaussianProcessGradients, testing::ValuesIn(forms));

TEST_P(GaussianProcessGradients, EqualDifferences) {
  const Matrix points = random_points(60, 3, 4);
  KernelShape shape = KernelShape::of(3);
  shape.warped = {0, 2};
  shape.is_additive = GetParam().is_additive;
  Theta theta = theta_of(3, 0.5, 1.4, 1e-3);
  if (shape.is_additive) {
    theta.insert(theta.end(), {std::log(0.3), std::log(0.8), std::log(0.2), std::log(0.9)});
  }
  if (GetParam().is_warped) {
    theta.insert(theta.end(), {0.7, -0.4, -0.6, 0.9});
  }
  GaussianProcess model(shape, theta);
  model.append_all(points);
  model.set_values(wavy(points));
  model.append(std::vector<double>{0.2, 0.4, 0.6});
  const Matrix weights = random_points(1, 61, 5);
  const auto value = [&](const Matrix& at) {
    GaussianProcess::Answer answer;
    model.ask(at, answer, false);
    double sum = 0.8 * answer.means[0];
    for (std::size_t j = 0; j < 61; ++j) {
      sum += weights(0, j) * answer.whitened(0, j);
    }
    return sum;
  };
  Matrix place = random_points(1, 3, 6);
  GaussianProcess::Answer answer;
  model.ask(place, answer, true);
  Matrix gradients;
  model.gradients(answer, std::vector<double>{0.8}, weights, gradients);
  for (std::size_t k = 0; k < 3; ++k) {
    Matrix up = place;
    Matrix down = place;
    up(0, k) += 1e-5;
    down(0, k) -= 1e-5;
    EXPECT_NEAR(gradients(0, k), (value(up) - value(down)) / 2e-5,
                1e-5 * std::max(1.0, std::abs(gradients(0, k))));
  }
}

TEST(Evidence, OnePointHasTheClosedForm) {
  const KernelShape shape = KernelShape::of(1);
  const Matrix points = points_of({{0.4}});
  const std::vector<double> values{0.9};
  Evidence evidence(shape, points, values);
  const Theta theta = theta_of(1, 0.5, 2.0, 0.1);
  std::vector<double> gradient;
  const double prior = 0.5 * std::pow(std::log(0.5) + 0.7, 2) + 0.5 * std::pow(std::log(2.0), 2) +
                       0.5 * std::pow((std::log(0.1) + 7) / 2, 2);
  EXPECT_NEAR(evidence(theta, gradient),
              0.5 * (0.81 / 2.1 + std::log(2.1) + std::log(2 * std::numbers::pi)) + prior, 1e-12);
}

class EvidenceGradient : public testing::TestWithParam<Form> {};
INSTANTIATE_TEST_SUITE_P(Forms, EvidenceGradient, testing::ValuesIn(forms));

TEST_P(EvidenceGradient, EqualsDifferences) {
  for (const std::size_t n : {7U, 60U, 150U}) {
    KernelShape shape = KernelShape::of(4);
    shape.group = {0, 1, 2, 2};  // two features share a length
    shape.groups = 3;
    const Matrix points = random_points(n, 4, n);
    const std::vector<double> values = wavy(points);
    shape.warped = {1, 3};
    Evidence evidence(shape, points, values);
    shape.is_additive = GetParam().is_additive;
    Theta theta{std::log(0.3), std::log(0.9), std::log(1.5), std::log(1.2), std::log(0.02)};
    if (shape.is_additive) {
      theta.insert(theta.end(), {std::log(0.6), std::log(0.2), std::log(1.1), std::log(0.7)});
    }
    if (GetParam().is_warped) {
      theta.insert(theta.end(), {0.5, -0.7, -0.3, 1.1});
    }
    std::vector<double> gradient;
    std::vector<double> unused;
    evidence(theta, gradient);
    for (std::size_t k = 0; k < theta.size(); ++k) {
      Theta up = theta;
      Theta down = theta;
      up[k] += 1e-5;
      down[k] -= 1e-5;
      const double difference = (evidence(up, unused) - evidence(down, unused)) / 2e-5;
      EXPECT_NEAR(gradient[k], difference, 1e-5 * std::max(1.0, std::abs(difference)))
          << "n " << n << " parameter " << k;
    }
  }
}

TEST(GaussianProcess, AnAdditiveKernelHasTheClosedFormOfTwoPoints) {
  KernelShape shape = KernelShape::of(2);
  shape.is_additive = true;
  Theta theta = theta_of(2, 0.5, 1.4, 0.01);
  theta.insert(theta.end(), {std::log(0.3), std::log(0.8), std::log(0.6)});
  const auto kernel = [](double dx, double dy) {
    return matern(std::hypot(dx, dy) / 0.5, 1.4) + matern(dx / 0.3, 0.3) + matern(dy / 0.8, 0.3);
  };
  GaussianProcess model(shape, theta);
  model.append(std::vector<double>{0.2, 0.3});
  model.set_values(std::vector<double>{0.7});
  GaussianProcess::Answer answer;
  model.ask(points_of({{0.6, 0.4}}), answer, false);
  const double k = kernel(0.4, 0.1);
  EXPECT_DOUBLE_EQ(model.signal(), 2.0);
  EXPECT_NEAR(answer.means[0], 0.7 * k / 2.01, 1e-12);
  EXPECT_NEAR(answer.deviations[0], std::sqrt(2.0 - k * k / 2.01), 1e-12);
}

/// What each input does alone shows in few values, where all together would need many.
TEST(Fit, LearnsASumOfFunctionsFromFewerValuesWhereItIsAdditive) {
  const auto sum = [](const Matrix& points) {
    std::vector<double> values;
    for (std::size_t i = 0; i < points.rows(); ++i) {
      double value = 0.0;
      for (std::size_t k = 0; k < points.columns(); ++k) {
        value += std::sin((7.0 + static_cast<double>(k)) * points(i, k));
      }
      values.push_back(value);
    }
    return values;
  };
  const Matrix points = random_points(60, 6, 31);
  const Matrix places = random_points(200, 6, 32);
  const std::vector<double> values = sum(points);
  const std::vector<double> truth = sum(places);
  double errors[2] = {};
  for (const bool is_additive : {false, true}) {
    KernelShape shape = KernelShape::of(6);
    shape.is_additive = is_additive;
    GaussianProcess model(shape, fit(shape, points, values, {usual_start(shape)}, 60));
    model.append_all(points);
    model.set_values(values);
    GaussianProcess::Answer answer;
    model.ask(places, answer, false);
    for (std::size_t i = 0; i < truth.size(); ++i) {
      errors[is_additive ? 1 : 0] += std::pow(answer.means[i] - truth[i], 2) / 200.0;
    }
  }
  EXPECT_LT(errors[1], 0.25 * errors[0]) << errors[0] << " without, " << errors[1] << " with";
}

TEST(Fit, LeavesTheAdditivePartsOutOfManyValues) {
  const std::size_t n = KernelShape::additive_until + 1;
  KernelShape shape = KernelShape::of(2);
  shape.is_additive = true;
  const Matrix points = random_points(n, 2, 33);
  const std::vector<double> values = wavy(points);
  const Theta theta = fit(shape, points, values, {usual_start(shape)}, 5);
  EXPECT_EQ(theta[shape.additive_signal()], KernelShape::no_signal);
  GaussianProcess model(shape, theta);
  EXPECT_DOUBLE_EQ(model.signal(), std::exp(theta[shape.signal()]));
}

TEST(Evidence, LeaveOneOutEqualsLeavingEachOneOut) {
  const std::size_t n = 12;
  KernelShape shape = KernelShape::of(2);
  shape.warped = {1};
  Theta theta = theta_of(2, 0.4, 1.3, 0.05);
  theta.insert(theta.end(), {0.4, -0.2});
  const Matrix points = random_points(n, 2, 8);
  const std::vector<double> values = wavy(points);
  double expected = 0.0;
  for (std::size_t left = 0; left < n; ++left) {
    GaussianProcess model(shape, theta);
    std::vector<double> others;
    Matrix place(1, 2);
    std::copy_n(points.row(left), 2, place.row(0));
    for (std::size_t i = 0; i < n; ++i) {
      if (i != left) {
        model.append({points.row(i), 2});
        others.push_back(values[i]);
      }
    }
    model.set_values(others);
    GaussianProcess::Answer answer;
    model.ask(place, answer, false);
    const double variance = std::pow(answer.deviations[0], 2) + 0.05;
    expected += -0.5 * (std::log(2 * std::numbers::pi * variance) +
                        std::pow(values[left] - answer.means[0], 2) / variance);
  }
  EXPECT_NEAR(leave_one_out(shape, points, values, theta), expected, 1e-8);
}

TEST(Fit, BendsAnInputThatChangesFasterAtOneEnd) {
  const Matrix points = random_points(80, 1, 9);
  std::vector<double> values(80);
  for (std::size_t i = 0; i < 80; ++i) {
    values[i] = std::sin(12 * std::pow(points(i, 0), 0.25));
  }
  KernelShape shape = KernelShape::of(1);
  shape.warped = {0};
  const Theta plain = fit(shape, points, values, {usual_start(shape)}, 60);
  const Theta warped = fit(shape, points, values, {with_identity_warp(shape, plain)}, 60);
  EXPECT_LT(warped[3], -0.3) << "a < 1: the low end is spread out";
  EXPECT_GT(leave_one_out(shape, points, values, warped),
            leave_one_out(shape, points, values, plain) + 10.0);
}

TEST(Fit, FindsWhichInputsMatter) {
  const Matrix points = random_points(100, 3, 9);
  std::vector<double> values(100);
  for (std::size_t i = 0; i < 100; ++i) {
    values[i] = std::sin(9 * points(i, 0));
  }
  const KernelShape shape = KernelShape::of(3);
  const Theta theta = fit(shape, points, values, {usual_start(shape)}, 60);
  EXPECT_LT(theta[0], theta[1] - 1.0);
  EXPECT_LT(theta[0], theta[2] - 1.0);
  EXPECT_LT(theta[4], std::log(1e-2));
}

TEST(Fit, KeepsTheNoiseFixedWhereEqualPointsHaveEqualValues) {
  const Matrix points = random_points(30, 2, 9);
  KernelShape shape = KernelShape::of(2);
  shape.fixes_noise = true;
  const Theta theta = fit(shape, points, wavy(points), {usual_start(shape)}, 30);
  EXPECT_DOUBLE_EQ(theta[3], std::log(1e-6));
}

TEST(Fit, SurvivesPointsThatAreAllTheSame) {
  Matrix points(20, 2);
  for (std::size_t i = 0; i < 20; ++i) {
    points(i, 0) = points(i, 1) = 0.5;
  }
  const KernelShape shape = KernelShape::of(2);
  const Theta theta = fit(shape, points, std::vector<double>(20, 0.0), {usual_start(shape)}, 30);
  for (double x : theta) {
    EXPECT_TRUE(std::isfinite(x));
  }
}

}  // namespace
}  // namespace muster::hpo
