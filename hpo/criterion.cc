// SPDX-License-Identifier: Apache-2.0
#include "hpo/criterion.h"

#include <algorithm>
#include <cmath>

#include "hpo/acquisition.h"
#include "hpo/normal.h"
#include "hpo/sobol.h"

namespace muster::hpo {
namespace {

constexpr std::size_t fantasy_count = 32;
constexpr double penalty = 10.0;

/// s^2 = k - sum v^2, hence ds/dv = -v/s.
void spread(const GaussianProcess::Answer& answer, std::size_t i, double by_deviation,
            double* by_whitened) {
  const double factor = -by_deviation / answer.deviations[i];
  const double* const whitened = answer.whitened.row(i);
  for (std::size_t j = 0; j < answer.whitened.columns(); ++j) {
    by_whitened[j] = factor * whitened[j];
  }
}

}  // namespace

double Criterion::improvement(double mean, double deviation, double target, double* by_mean,
                              double* by_deviation) const {
  const double u = (target - mean) / deviation;
  const double slope = log_improvement_slope(u);
  *by_mean = slope / deviation;
  *by_deviation = (slope * u - 1.0) / deviation;
  return -std::log(deviation) - log_improvement(u);
}

double Criterion::value(const GaussianProcess::Answer& answer, std::size_t i, double* by_mean,
                        double* by_whitened) const {
  const double mean = answer.means[i];
  const double deviation = answer.deviations[i];
  double result = 0.0;
  double mean_slope = 1.0;
  double deviation_slope = -coefficient;
  if (kind == Kind::logei && pending > 0) {
    return fantasised(answer, i, by_mean, by_whitened);
  }
  if (kind == Kind::logei) {
    result = improvement(mean, deviation, best, &mean_slope, &deviation_slope);
  } else if (kind == Kind::explore) {
    const double excess = mean - 0.5 * deviation - threshold;
    mean_slope = excess > 0.0 ? penalty : 0.0;
    deviation_slope = -1.0 - 0.5 * mean_slope;
    result = -deviation + mean_slope * excess;
  } else {
    result = mean - coefficient * deviation;
  }
  if (by_mean != nullptr) {
    *by_mean = mean_slope;
    spread(answer, i, deviation_slope, by_whitened);
  }
  return result;
}

double Criterion::fantasised(const GaussianProcess::Answer& answer, std::size_t i, double* by_mean,
                             double* by_whitened) const {
  const std::size_t first = answer.whitened.columns() - pending;
  const double* const whitened = answer.whitened.row(i) + first;
  std::vector<double> values(fantasy_count);
  std::vector<double> mean_slopes(fantasy_count);
  std::vector<double> deviation_slopes(fantasy_count);
  for (std::size_t f = 0; f < fantasy_count; ++f) {
    double mean = answer.means[i];
    for (std::size_t j = 0; j < pending; ++j) {
      mean += whitened[j] * fantasies(f, j);
    }
    values[f] = improvement(mean, answer.deviations[i], fantasy_best[f], &mean_slopes[f],
                            &deviation_slopes[f]);
  }
  const double least = *std::ranges::min_element(values);
  double sum = 0.0;
  for (double& v : values) {
    v = std::exp(least - v);  // weights, from here on
    sum += v;
  }
  if (by_mean != nullptr) {
    double deviation_slope = 0.0;
    *by_mean = 0.0;
    for (std::size_t f = 0; f < fantasy_count; ++f) {
      *by_mean += values[f] / sum * mean_slopes[f];
      deviation_slope += values[f] / sum * deviation_slopes[f];
    }
    spread(answer, i, deviation_slope, by_whitened);
    for (std::size_t f = 0; f < fantasy_count; ++f) {
      for (std::size_t j = 0; j < pending; ++j) {
        by_whitened[first + j] += values[f] / sum * mean_slopes[f] * fantasies(f, j);
      }
    }
  }
  return least - std::log(sum / static_cast<double>(fantasy_count));
}

void Criterion::imagine(const GaussianProcess::Answer& at_pending, std::uint64_t seed) {
  const std::size_t first = at_pending.whitened.columns() - pending;
  const Sobol points(pending, seed);
  fantasies.resize(fantasy_count, pending);
  fantasy_best.assign(fantasy_count, best);
  for (std::size_t f = 0; f < fantasy_count; ++f) {
    points.at(f, {fantasies.row(f), pending});
    for (std::size_t j = 0; j < pending; ++j) {
      fantasies(f, j) = normal_quantile(fantasies(f, j));
    }
    for (std::size_t p = 0; p < pending; ++p) {
      double value = at_pending.means[p];
      for (std::size_t j = 0; j < pending; ++j) {
        value += at_pending.whitened(p, first + j) * fantasies(f, j);
      }
      fantasy_best[f] = std::min(fantasy_best[f], value);
    }
  }
}

}  // namespace muster::hpo
