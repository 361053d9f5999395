/// Evidence: how well a kernel's parameters explain values, with its gradient; and the fit of them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "hpo/additive.h"
#include "hpo/dense.h"
#include "hpo/kernel_shape.h"

namespace muster::hpo {

/// -ln p(y | theta) - ln p(theta) and its gradient, from one factor, one inverse and one product;
/// the additive parts alone need an n x n x d tensor, and there are none where n is large.
class Evidence {
 public:
  /// `features`: n x F. Both must outlive this.
  Evidence(const KernelShape& shape, const Matrix& features, std::span<const double> values);
  /// Infinite where the matrix cannot be factored. `gradient` is resized.
  double operator()(const Theta& theta, std::vector<double>& gradient);

  /// Sum over points of the ln density of its value given all others, at the theta asked last.
  double leave_one_out() const;

 private:
  struct Sums {
    double trace = 0.0;      ///< of K^-1
    double quadratic = 0.0;  ///< y^T K^-1 y
    double squares = 0.0;    ///< |K^-1 y|^2
  };
  void place(const Theta& theta);
  void cover(const Theta& theta);
  Sums weigh_slopes();
  void add_by_lengths(std::vector<double>& gradient) const;
  void set_by_warps(const Theta& theta, std::vector<double>& gradient) const;
  double with_prior(double value, const Theta& theta, std::vector<double>& gradient) const;

  const KernelShape& shape_;
  const Matrix& features_;
  std::span<const double> values_;
  Matrix kernel_, attempt_, slopes_, inverse_, scaled_, product_, by_a_, by_b_;
  AdditiveParts parts_;
  std::vector<double> alpha_, sums_;
};

/// The mode of the posterior of theta from the given starts; the first start when nothing can be
/// factored.
Theta fit(const KernelShape& shape, const Matrix& features, std::span<const double> values,
          const std::vector<Theta>& starts, int evaluations);
/// ln predictive density of each value from the others, summed: what a model is chosen by.
double leave_one_out(const KernelShape& shape, const Matrix& features,
                     std::span<const double> values, const Theta& theta);
}  // namespace muster::hpo
