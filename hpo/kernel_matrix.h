/// What the Gaussian process and its evidence share: factoring a kernel matrix, and short loops
/// over rows.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include "hpo/dense.h"

namespace muster::hpo {

/// The inverse of the Cholesky factor of `matrix` (its lower triangle), in place, with growing
/// jitter where it is needed; `attempt` is scratch. False where even that fails.
bool factor_and_invert(Matrix& matrix, Matrix& attempt, double* log_determinant);
/// alpha = L^-T L^-1 y, from the inverse factor.
void solve(const Matrix& inverse_factor, std::span<const double> values,
           std::vector<double>& alpha);
double dot(const double* a, const double* b, std::size_t count);
/// y += factor x
void add_scaled(double factor, const double* x, double* y, std::size_t count);

}  // namespace muster::hpo
