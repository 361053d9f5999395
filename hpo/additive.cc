// SPDX-License-Identifier: Apache-2.0
#include "hpo/additive.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "hpo/dense_kernels.h"
#include "hpo/kernel_matrix.h"

namespace muster::hpo {

AdditiveScales AdditiveScales::of(const KernelShape& shape, const Theta& theta) {
  AdditiveScales scales;
  if (!shape.is_additive || theta[shape.additive_signal()] <= KernelShape::no_signal) {
    return scales;
  }
  scales.signal = std::exp(theta[shape.additive_signal()]);
  scales.variance = scales.signal / static_cast<double>(shape.group.size());
  for (const std::size_t group : shape.group) {
    scales.ratios.push_back(std::exp(theta[group] - theta[shape.additive_length(group)]));
  }
  return scales;
}

void AdditiveParts::cover(AdditiveScales scales, const Matrix& scaled, Matrix& kernel) {
  scales_ = std::move(scales);
  const std::size_t n = kernel.rows();
  const std::size_t count = scales_.ratios.size();
  if (count == 0) {
    return;
  }
  sum_.resize(n, n);
  slopes_.resize(count * n, n);
  for (std::size_t i = 0; i < n; ++i) {
    double* const sum = sum_.row(i);
    std::fill_n(sum, i + 1, 0.0);
    for (std::size_t f = 0; f < count; ++f) {
      kernels::add_matern(i + 1, scales_.variance, scales_.ratios[f], scaled(f, i), scaled.row(f),
                          sum, slopes_.row(f * n + i));
    }
    for (std::size_t j = 0; j <= i; ++j) {
      kernel(i, j) += sum[j];
    }
  }
}

void AdditiveParts::add_gradient(const KernelShape& shape, std::span<const double> alpha,
                                 const Matrix& inverse, const Matrix& scaled,
                                 std::vector<double>& gradient) {
  const std::size_t n = alpha.size();
  const std::size_t count = scales_.ratios.size();
  if (count == 0) {
    return;
  }
  weights_.resize(n);
  pulls_.resize(count, n);
  for (std::size_t f = 0; f < count; ++f) {
    std::fill_n(pulls_.row(f), n, 0.0);
  }
  std::vector<double> moments(count, 0.0);
  double by_signal = 0.0;
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      weights_[j] = alpha[i] * alpha[j] - inverse(i, j);
    }
    by_signal -= dot(weights_.data(), sum_.row(i), i) + 0.5 * weights_[i] * sum_(i, i);
    for (std::size_t f = 0; f < count; ++f) {
      const kernels::Weighed weighed = kernels::weigh(i, weights_.data(), slopes_.row(f * n + i),
                                                      scaled(f, i), scaled.row(f), pulls_.row(f));
      pulls_(f, i) += weighed.sum;
      moments[f] += weighed.moment;
    }
  }
  gradient[shape.additive_signal()] += by_signal;
  for (std::size_t f = 0; f < count; ++f) {
    gradient[shape.additive_length(shape.group[f])] -=
        scales_.ratios[f] * scales_.ratios[f] * moments[f];
  }
}

double AdditiveParts::pull(std::size_t f, std::size_t i) const {
  return scales_.ratios.empty() ? 0.0 : scales_.ratios[f] * scales_.ratios[f] * pulls_(f, i);
}

}  // namespace muster::hpo
