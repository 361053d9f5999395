// SPDX-License-Identifier: Apache-2.0
#include "hpo/gaussian_process.h"

#include <algorithm>
#include <cmath>

#include "hpo/dense_kernels.h"
#include "hpo/kernel_matrix.h"
#include "runtime/base/error.h"

namespace muster::hpo {

GaussianProcess::GaussianProcess(KernelShape shape, Theta theta)
    : shape_(std::move(shape)), theta_(std::move(theta)) {
  require(
      theta_.size() == shape_.plain_size() || theta_.size() == shape_.warped_size(),
      "GaussianProcess: a length a group, a signal and a noise, the same of additive parts, two "
      "numbers a warp");
  for (const std::size_t group : shape_.group) {
    rates_.push_back(std::exp(-theta_[group]));
  }
  signal_ = std::exp(theta_[shape_.signal()]);
  noise_ = std::exp(theta_[shape_.noise()]);
  additive_ = AdditiveScales::of(shape_, theta_);
  for (std::size_t k = shape_.plain_size(); k + 1 < theta_.size(); k += 2) {
    warps_.push_back({std::exp(theta_[k]), std::exp(theta_[k + 1])});
  }
}

void GaussianProcess::scale_into(std::span<const double> features, double* scaled,
                                 double* bends) const {
  for (std::size_t f = 0; f < rates_.size(); ++f) {
    scaled[f] = features[f] * rates_[f];
    if (bends != nullptr) {
      bends[f] = 1.0;
    }
  }
  for (std::size_t k = 0; k < warps_.size(); ++k) {
    const std::size_t f = shape_.warped[k];
    const InputWarp::Point point = warps_[k].at(features[f]);
    scaled[f] = point.value * rates_[f];
    if (bends != nullptr) {
      bends[f] = point.by_u;
    }
  }
}

void GaussianProcess::place(std::size_t row, std::span<const double> features) {
  std::vector<double> scaled(rates_.size());
  scale_into(features, scaled.data());
  for (std::size_t f = 0; f < rates_.size(); ++f) {
    columns_(f, row) = scaled[f];
  }
}

void GaussianProcess::cover(std::size_t count, const double* scaled, double* covariance,
                            double* slopes, Matrix* parts, std::size_t first_part) const {
  kernels::squared_distances(count, rates_.size(), scaled, columns_.row(0), columns_.stride(),
                             covariance);
  kernels::matern(count, signal_, covariance, covariance, slopes);
  for (std::size_t f = 0; f < additive_.ratios.size(); ++f) {
    kernels::add_matern(count, additive_.variance, additive_.ratios[f], scaled[f], columns_.row(f),
                        covariance, parts != nullptr ? parts->row(first_part + f) : unused_.data());
  }
}

void GaussianProcess::append_all(const Matrix& features) {
  require(count_ == 0, "GaussianProcess::append_all fills an empty one");
  const std::size_t n = features.rows();
  columns_.grow(rates_.size(), n);
  factor_.grow(n, n);
  Matrix kernel(n, n);
  std::vector<double> point(rates_.size());
  std::vector<double> slopes(n);
  unused_.resize(n);
  for (std::size_t i = 0; i < n; ++i) {
    place(i, {features.row(i), rates_.size()});
  }
  for (std::size_t i = 0; i < n; ++i) {
    scale_into({features.row(i), rates_.size()}, point.data());
    cover(i + 1, point.data(), kernel.row(i), slopes.data(), nullptr, 0);
    kernel(i, i) = signal() + noise_;
  }
  double unused = 0.0;
  Matrix attempt;
  if (!factor_and_invert(kernel, attempt, &unused)) {
    throw Error(Fault::bug,
                "the kernel matrix of " + std::to_string(n) + " points cannot be factored");
  }
  for (std::size_t i = 0; i < n; ++i) {
    std::copy_n(kernel.row(i), i + 1, factor_.row(i));
  }
  count_ = n;
}

void GaussianProcess::append(std::span<const double> features) {
  const std::size_t n = count_;
  columns_.grow(rates_.size(), n + 1);
  factor_.grow(n + 1, n + 1);
  place(n, features);
  std::vector<double> point(rates_.size());
  scale_into(features, point.data());
  row_.resize(n + 1);
  std::vector<double> slopes(n + 1);
  std::vector<double> whitened(n);
  unused_.resize(n);
  cover(n, point.data(), row_.data(), slopes.data(), nullptr, 0);
  double* const last = factor_.row(n);
  std::fill_n(last, n + 1, 0.0);
  double rest = signal() + noise_;
  for (std::size_t i = 0; i < n; ++i) {
    whitened[i] = dot(factor_.row(i), row_.data(), i + 1);
    rest -= whitened[i] * whitened[i];
  }
  const double pivot = 1.0 / std::sqrt(std::max(rest, 1e-8 * signal()));
  for (std::size_t i = 0; i < n; ++i) {
    add_scaled(-pivot * whitened[i], factor_.row(i), last, i + 1);
  }
  last[n] = pivot;
  count_ = n + 1;
}

void GaussianProcess::set_values(std::span<const double> values) {
  require(values.size() <= count_, "GaussianProcess::set_values: more values than points");
  solve(factor_, values, alpha_);
}

void GaussianProcess::truncate(std::size_t count) {
  require(count <= count_, "GaussianProcess::truncate only takes points back");
  count_ = count;
  columns_.grow(rates_.size(), count);
  factor_.grow(count, count);
}

void GaussianProcess::ask(const Matrix& points, Answer& answer, bool with_slopes) const {
  const std::size_t m = points.rows();
  const std::size_t n = count_;
  answer.scaled.resize(m, rates_.size());
  answer.covariance.resize(m, n);
  answer.slopes.resize(m, with_slopes ? n : 1);
  answer.bends.resize(m, with_slopes ? rates_.size() : 1);
  answer.whitened.resize(m, n);
  answer.means.assign(m, 0.0);
  answer.deviations.assign(m, 0.0);
  const std::size_t parts = with_slopes ? additive_.ratios.size() : 0;
  answer.parts.resize(std::max<std::size_t>(m * parts, 1), n);
  std::vector<double> unused(with_slopes ? 0 : n);
  unused_.resize(n);
  for (std::size_t i = 0; i < m; ++i) {
    scale_into({points.row(i), rates_.size()}, answer.scaled.row(i),
               with_slopes ? answer.bends.row(i) : nullptr);
    cover(n, answer.scaled.row(i), answer.covariance.row(i),
          with_slopes ? answer.slopes.row(i) : unused.data(), parts > 0 ? &answer.parts : nullptr,
          i * parts);
    answer.means[i] = dot(answer.covariance.row(i), alpha_.data(), alpha_.size());
  }
  multiply_by_lower_transposed(answer.covariance.view(), factor_.view(), answer.whitened.view());
  for (std::size_t i = 0; i < m; ++i) {
    const double known = dot(answer.whitened.row(i), answer.whitened.row(i), n);
    answer.deviations[i] = std::sqrt(std::max(signal() - known, 1e-12 * signal()));
  }
}

void GaussianProcess::gradients(const Answer& answer, std::span<const double> by_mean,
                                const Matrix& by_whitened, Matrix& gradients) const {
  const std::size_t m = by_mean.size();
  weights_.resize(m, count_);
  multiply_by_lower(by_whitened.view(), factor_.view(), weights_.view());
  gradients.resize(m, rates_.size());
  std::vector<double> pulls(rates_.size(), 0.0);
  for (std::size_t i = 0; i < m; ++i) {
    double* const weights = weights_.row(i);
    add_scaled(by_mean[i], alpha_.data(), weights, alpha_.size());
    for (std::size_t f = 0; f < additive_.ratios.size(); ++f) {
      const double ratio = additive_.ratios[f];
      pulls[f] = ratio * ratio *
                 kernels::weigh(count_, weights, answer.parts.row(i * rates_.size() + f),
                                answer.scaled(i, f), columns_.row(f), unused_.data())
                     .sum;
    }
    double sum = 0.0;
    for (std::size_t j = 0; j < count_; ++j) {
      weights[j] *= answer.slopes(i, j);
      sum += weights[j];
    }
    for (std::size_t f = 0; f < rates_.size();
         ++f) {  // d k_j / d x_f = -slope_j (z_f - z_jf) / l_f
      gradients(i, f) =
          -rates_[f] * answer.bends(i, f) *
          (answer.scaled(i, f) * sum - dot(weights, columns_.row(f), count_) + pulls[f]);
    }
  }
}

}  // namespace muster::hpo
