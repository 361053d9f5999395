// SPDX-License-Identifier: Apache-2.0
#include "hpo/kernel_matrix.h"

#include <algorithm>
#include <cmath>

namespace muster::hpo {
namespace {

constexpr int most_jitters = 8;

/// Whatever stands above the diagonal becomes 0.
void clear_above(Matrix& matrix) {
  for (std::size_t i = 0; i < matrix.rows(); ++i) {
    std::fill(matrix.row(i) + i + 1, matrix.row(i) + matrix.columns(), 0.0);
  }
}

}  // namespace

bool factor_and_invert(Matrix& matrix, Matrix& attempt, double* log_determinant) {
  const std::size_t n = matrix.rows();
  double jitter = 0.0;
  for (int i = 0; i <= most_jitters; ++i) {
    attempt = matrix;
    for (std::size_t k = 0; k < n; ++k) {
      attempt(k, k) += jitter;
    }
    if (cholesky(attempt.view())) {
      std::swap(matrix, attempt);
      *log_determinant = 0.0;
      for (std::size_t k = 0; k < n; ++k) {
        *log_determinant += 2.0 * std::log(matrix(k, k));
      }
      clear_above(matrix);
      invert_lower(matrix.view());
      return true;
    }
    jitter = jitter == 0.0 ? 1e-8 : 10.0 * jitter;
  }
  return false;
}

double dot(const double* a, const double* b, std::size_t count) {
  double sum[4] = {};
  std::size_t i = 0;
  for (; i + 4 <= count; i += 4) {
    for (std::size_t k = 0; k < 4; ++k) {
      sum[k] += a[i + k] * b[i + k];
    }
  }
  for (; i < count; ++i) {
    sum[0] += a[i] * b[i];
  }
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

void add_scaled(double factor, const double* x, double* y, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    y[i] += factor * x[i];
  }
}

void solve(const Matrix& inverse_factor, std::span<const double> values,
           std::vector<double>& alpha) {
  const std::size_t n = values.size();
  alpha.assign(n, 0.0);
  for (std::size_t i = 0; i < n; ++i) {
    add_scaled(dot(inverse_factor.row(i), values.data(), i + 1), inverse_factor.row(i),
               alpha.data(), i + 1);
  }
}

}  // namespace muster::hpo
