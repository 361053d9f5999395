/// AdditiveParts: a Matern-5/2 kernel a feature, beside the kernel over all of them: what a
/// function owes to each input alone is learnt from far fewer values than what it owes to all
/// together, and where it owes nothing to single inputs the evidence says so (after Duvenaud et
/// al., 2011, first order).
///   k_add = (s' / F) sum over features f of m(|x_f - x'_f| / l'_g(f)), m of variance 1
/// They hold the memory of F n x n matrices, so that a large n goes without (KernelShape).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include "hpo/dense.h"
#include "hpo/kernel_shape.h"

namespace muster::hpo {

/// Of theta: the variance of one part, and how much longer the whole kernel's length of each
/// feature is than the part's. No ratios and a signal of 0: there are no parts.
struct AdditiveScales {
  double variance = 0.0, signal = 0.0;
  std::vector<double> ratios;
  static AdditiveScales of(const KernelShape& shape, const Theta& theta);
};

class AdditiveParts {
 public:
  /// Adds them to the lower triangle of `kernel`, where theta has any. `scaled`: F x n, over the
  /// whole kernel's lengths. The two calls below are about this theta.
  void cover(AdditiveScales scales, const Matrix& scaled, Matrix& kernel);
  /// Adds d(-ln p) by their lengths and their variance, from alpha and the inverse at that kernel.
  void add_gradient(const KernelShape& shape, std::span<const double> alpha, const Matrix& inverse,
                    const Matrix& scaled, std::vector<double>& gradient);
  /// d(-ln p) by feature f of point i over the whole kernel's length; after add_gradient.
  double pull(std::size_t f, std::size_t i) const;

 private:
  AdditiveScales scales_;
  Matrix sum_, slopes_, pulls_;  // n x n, (F n) x n, F x n
  std::vector<double> weights_;
};

}  // namespace muster::hpo
