/// GaussianProcess: an exact Gaussian process with a Matern-5/2 kernel, one length a group of
/// features, zero mean and noise.
///   k = s (1 + a + a^2/3) exp(-a), a = sqrt(5) r, r^2 = sum over features of (x - x')^2 / l^2;
///   noise n on the diagonal, and where the kernel is additive too, a kernel a feature (additive.h)
/// Priors, all log-normal, the mode taken in log space: ln l ~ N(0.5 ln d - 0.7, 1), ln s ~ N(0,
/// 1), ln n ~ N(-7, 2); each number may be bent first (input_warp.h). It keeps the inverse of the
/// Cholesky factor: a point is one more row, O(n^2), and points without values (pending) are rows
/// that narrow the deviation and leave the mean alone. Not thread-safe.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "hpo/additive.h"
#include "hpo/dense.h"
#include "hpo/input_warp.h"
#include "hpo/kernel_shape.h"

namespace muster::hpo {

class GaussianProcess {
 public:
  /// Starts empty. Throws Error(bug) when sizes do not match.
  GaussianProcess(KernelShape shape, Theta theta);

  void append(std::span<const double>
                  features);  ///< one more point; set_values must follow before a mean is asked for
  void append_all(const Matrix& features);  ///< many at once, into an empty one: O(n^3)
  void set_values(std::span<const double>
                      values);       ///< of the first points, in their order; the rest are pending
  void truncate(std::size_t count);  ///< takes the last points back
  std::size_t size() const { return count_; }
  const Theta& theta() const { return theta_; }
  double signal() const { return signal_ + additive_.signal; }  ///< variance where nothing is known
  double noise() const { return noise_; }

  /// What is known at some points, and what is needed for gradients there.
  struct Answer {
    std::vector<double> means, deviations;
    Matrix whitened;    ///< m x n: L^-1 k(X, x); its last columns belong to pending points
    Matrix scaled;      ///< m x F: the points over their lengths
    Matrix slopes;      ///< m x n: -2 dk / d(r^2)
    Matrix covariance;  ///< m x n
    Matrix parts;       ///< m F x n: the slopes of the additive parts, where there are any
    Matrix bends;       ///< m x F: d(warped) / d(feature), where there is a warp
  };
  void ask(const Matrix& points, Answer& answer, bool with_slopes) const;
  /// d/d(feature) of sum_i (by_mean_i mean_i + sum_j by_whitened_ij whitened_ij) for each point,
  /// into m x F `gradients`.
  void gradients(const Answer& answer, std::span<const double> by_mean, const Matrix& by_whitened,
                 Matrix& gradients) const;

 private:
  /// `bends`: also the slopes of the warps, where wanted.
  void scale_into(std::span<const double> features, double* scaled, double* bends = nullptr) const;
  void place(std::size_t row, std::span<const double> features);
  /// Covariances of the first points with one that is `scaled`; `parts`: F rows of slopes.
  void cover(std::size_t count, const double* scaled, double* covariance, double* slopes,
             Matrix* parts, std::size_t first_part) const;

  KernelShape shape_;
  Theta theta_;
  std::vector<double> rates_;  // 1 / l of each feature
  std::vector<InputWarp> warps_;
  AdditiveScales additive_;
  double signal_ = 1.0, noise_ = 1e-6;
  std::size_t count_ = 0;
  Matrix columns_;  // F x n: points over their lengths, a feature a row
  Matrix factor_;   // inverse of the Cholesky factor
  std::vector<double> alpha_, row_;
  mutable Matrix weights_;
  mutable std::vector<double> unused_;  // slopes that nobody asked for
};

}  // namespace muster::hpo
