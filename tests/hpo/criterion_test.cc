// SPDX-License-Identifier: Apache-2.0
#include "hpo/criterion.h"

#include <cmath>

#include <gtest/gtest.h>

#include "hpo/acquisition.h"
#include "hpo/region.h"
#include "runtime/base/random.h"

namespace muster::hpo {
namespace {

Matrix random_points(std::size_t count, std::uint64_t seed) {
  Random random(seed, 0);
  Matrix points(count, 2);
  for (std::size_t i = 0; i < count; ++i) {
    points(i, 0) = random.uniform();
    points(i, 1) = random.uniform();
  }
  return points;
}

GaussianProcess model_with_pending(std::size_t pending) {
  Theta theta{std::log(0.4), std::log(0.6), std::log(1.3), std::log(1e-3)};
  GaussianProcess model(KernelShape::of(2), theta);
  const Matrix points = random_points(12, 1);
  model.append_all(points);
  std::vector<double> values;
  for (std::size_t i = 0; i < 12; ++i) {
    values.push_back(std::sin(6 * points(i, 0)) + points(i, 1));
  }
  for (std::size_t i = 0; i < pending; ++i) {
    model.append(std::vector<double>{0.2 + 0.3 * static_cast<double>(i), 0.5});
  }
  model.set_values(values);
  return model;
}

TEST(Criterion, EveryKindHasTheGradientThatDifferencesShow) {
  for (const Criterion::Kind kind :
       {Criterion::Kind::ucb, Criterion::Kind::explore, Criterion::Kind::logei}) {
    for (const std::size_t pending : {0U, 2U}) {
      const GaussianProcess model = model_with_pending(pending);
      Criterion criterion;
      criterion.kind = kind;
      criterion.best = -0.4;
      criterion.threshold = -0.9;
      criterion.pending = pending;
      if (pending > 0) {
        Matrix places(2, 2);
        places(0, 0) = 0.2;
        places(1, 0) = 0.5;
        places(0, 1) = places(1, 1) = 0.5;
        GaussianProcess::Answer answer;
        model.ask(places, answer, false);
        criterion.imagine(answer, 3);
      }
      const auto value = [&](const Matrix& at) {
        GaussianProcess::Answer answer;
        model.ask(at, answer, false);
        return criterion.value(answer, 0, nullptr, nullptr);
      };
      for (std::uint64_t seed = 10; seed < 14; ++seed) {
        const Matrix place = random_points(1, seed);
        GaussianProcess::Answer answer;
        model.ask(place, answer, true);
        Matrix by_whitened(1, model.size());
        double by_mean = 0;
        EXPECT_NEAR(criterion.value(answer, 0, &by_mean, by_whitened.row(0)), value(place), 1e-12);
        Matrix gradients;
        model.gradients(answer, std::span(&by_mean, 1), by_whitened, gradients);
        for (std::size_t k = 0; k < 2; ++k) {
          Matrix up = place;
          Matrix down = place;
          up(0, k) += 1e-6;
          down(0, k) -= 1e-6;
          const double difference = (value(up) - value(down)) / 2e-6;
          EXPECT_NEAR(gradients(0, k), difference, 1e-4 * std::max(1.0, std::abs(difference)))
              << static_cast<int>(kind) << " pending " << pending;
        }
      }
    }
  }
}

TEST(Criterion, ImprovementIsTheLogOfItsDefinition) {
  const GaussianProcess model = model_with_pending(0);
  Criterion criterion;
  criterion.kind = Criterion::Kind::logei;
  criterion.best = 0.1;
  GaussianProcess::Answer answer;
  model.ask(random_points(1, 5), answer, false);
  const double s = answer.deviations[0];
  EXPECT_NEAR(criterion.value(answer, 0, nullptr, nullptr),
              -std::log(s) - log_improvement((0.1 - answer.means[0]) / s), 1e-13);
}

class RegionTest : public testing::Test {
 protected:
  void add(double value, bool failed = false) {
    history_.append({.trial = history_.size(),
                     .config = Config{{0.5, 0.5}},
                     .resource = 0,
                     .value = value,
                     .failed = failed});
  }
  History history_;
};

TEST_F(RegionTest, ThreeSuccessesDoubleAndAsManyFailuresAsDimensionsHalve) {
  add(10.0);
  Region region(history_, 1, 4, 5);
  EXPECT_DOUBLE_EQ(region.side(), 0.8);
  for (double value : {9.0, 8.0, 7.0}) {
    add(value);
  }
  region.advance(4);
  EXPECT_DOUBLE_EQ(region.side(), 1.6);
  EXPECT_EQ(region.best(), 3U);
  for (int i = 0; i < 4; ++i) {
    add(i == 2 ? 6.9999 : 9.0, i == 1);  // a gain below 0.1 % is no success, but it is the best
  }
  region.advance(8);
  EXPECT_DOUBLE_EQ(region.side(), 0.8);
  EXPECT_EQ(region.best(), 6U);
}

TEST_F(RegionTest, StartsAfreshBelowTheLeastSideAndGathersAgain) {
  add(1.0);
  Region region(history_, 1, 4, 3);
  std::size_t seen = 1;
  while (region.restarts() == 0) {
    add(2.0);
    region.advance(++seen);
  }
  EXPECT_EQ(seen, 1U + 4U * 7U);  // 0.8 halved seven times is the first below 2^-7
  EXPECT_TRUE(region.is_gathering());
  EXPECT_EQ(region.begin(), seen);
  for (int i = 0; i < 3; ++i) {
    add(5.0 + i);
    region.advance(++seen);
  }
  EXPECT_FALSE(region.is_gathering());
  EXPECT_DOUBLE_EQ(history_[region.best()].value, 5.0);
  EXPECT_DOUBLE_EQ(region.side(), 0.8);
}

TEST_F(RegionTest, ARegionThatGathersNothingStartsAfreshAroundItsCentre) {
  add(1.0);
  Region region(history_, 1, 3, 0);
  for (std::size_t seen = 2; seen <= 1 + 3 * 7; ++seen) {
    EXPECT_FALSE(region.is_gathering());
    add(2.0);
    region.advance(seen);
  }
  EXPECT_DOUBLE_EQ(region.side(), 0.8);
  EXPECT_TRUE(region.has_best());
  EXPECT_EQ(region.best(), 0U);
}

TEST_F(RegionTest, LengthsShapeTheBoxAndTheCubeCutsIt) {
  add(1.0);
  const Region region(history_, 1, 4, 3);
  const Box box = region.box({0.5, 0.1}, {2.0, 0.5});
  EXPECT_DOUBLE_EQ(box.low[0], 0.0);
  EXPECT_DOUBLE_EQ(box.high[0], 1.0);
  EXPECT_DOUBLE_EQ(box.low[1], 0.0);
  EXPECT_NEAR(box.high[1], 0.1 + 0.2, 1e-12);
}

}  // namespace
}  // namespace muster::hpo
