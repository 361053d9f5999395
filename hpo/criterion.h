/// Criterion: the value of trying a point, as a number to be minimised with its gradient, from one
/// answer of the model.
///   ucb      mean - c s
///   explore  -s + 10 max(0, mean - s/2 - threshold): the least known place that may still be as
///   good as the best bound logei    -ln s - ln h((best - mean) / s); with pending points the mean
///   of exp over 32 fantasies of their values
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "hpo/gaussian_process.h"

namespace muster::hpo {

struct Criterion {
  enum class Kind { ucb, explore, logei };
  Kind kind = Kind::ucb;
  double coefficient = 1.8;  ///< ucb
  double threshold = 0.0;    ///< explore
  double best = 0.0;         ///< logei
  std::size_t pending = 0;   ///< the model's last points
  Matrix fantasies;          ///< logei with pending: 32 x pending normal numbers
  std::vector<double> fantasy_best;

  /// The value at row `i`; where asked for, its slope by the mean, and by each whitened number.
  double value(const GaussianProcess::Answer& answer, std::size_t i, double* by_mean,
               double* by_whitened) const;
  /// Draws the fantasies: normal numbers by Sobol points, and the best value that each makes.
  /// `at_pending`: the answer at those points.
  void imagine(const GaussianProcess::Answer& at_pending, std::uint64_t seed);

 private:
  double improvement(double mean, double deviation, double target, double* by_mean,
                     double* by_deviation) const;
  double fantasised(const GaussianProcess::Answer& answer, std::size_t i, double* by_mean,
                    double* by_whitened) const;
};

}  // namespace muster::hpo
