// SPDX-License-Identifier: Apache-2.0
#include "hpo/gaussian_process.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>

#include "hpo/dense_kernels.h"
#include "hpo/minimise.h"
#include "runtime/base/error.h"

namespace muster::hpo {
namespace {

constexpr double fixed_noise = 1e-6;
constexpr int most_jitters = 8;

struct Prior {
  double mean, deviation, low, high;
};

Prior prior_of(const KernelShape& shape, std::size_t index) {
  if (index < shape.groups) {
    return {shape.length_mean, 1.0, std::log(0.01), std::log(100.0)};
  }
  return index == shape.groups ? Prior{0.0, 1.0, std::log(0.01), std::log(100.0)}
                               : Prior{-7.0, 2.0, std::log(1e-6), 0.0};
}

/// Whatever stands above the diagonal becomes 0.
void clear_above(Matrix& matrix) {
  for (std::size_t i = 0; i < matrix.rows(); ++i) {
    std::fill(matrix.row(i) + i + 1, matrix.row(i) + matrix.columns(), 0.0);
  }
}

/// Copies the lower triangle to the upper one, in squares that stay in the cache.
void mirror(Matrix& matrix) {
  constexpr std::size_t side = 32;
  const std::size_t n = matrix.rows();
  for (std::size_t i = 0; i < n; i += side) {
    for (std::size_t j = 0; j <= i; j += side) {
      for (std::size_t k = i; k < std::min(i + side, n); ++k) {
        for (std::size_t l = j; l < std::min(j + side, k); ++l) {
          matrix(l, k) = matrix(k, l);
        }
      }
    }
  }
}

/// The inverse of the Cholesky factor of `matrix` (lower), with growing jitter where it is needed.
/// False where even that fails.
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

/// alpha = L^-T L^-1 y, from the inverse factor.
void solve(const Matrix& inverse_factor, std::span<const double> values,
           std::vector<double>& alpha) {
  const std::size_t n = values.size();
  alpha.assign(n, 0.0);
  for (std::size_t i = 0; i < n; ++i) {
    add_scaled(dot(inverse_factor.row(i), values.data(), i + 1), inverse_factor.row(i),
               alpha.data(), i + 1);
  }
}

}  // namespace

KernelShape KernelShape::of(std::size_t dimensions) {
  KernelShape shape;
  shape.group.resize(dimensions);
  std::iota(shape.group.begin(), shape.group.end(), std::size_t{0});
  shape.groups = dimensions;
  shape.length_mean =
      0.5 * std::log(static_cast<double>(std::max<std::size_t>(dimensions, 1))) - 0.7;
  return shape;
}

Theta usual_start(const KernelShape& shape) {
  Theta theta(shape.groups + 2, std::log(0.3));
  theta[shape.groups] = 0.0;
  theta[shape.groups + 1] = shape.fixes_noise ? std::log(fixed_noise) : -5.0;
  return theta;
}

Evidence::Evidence(const KernelShape& shape, const Matrix& features, std::span<const double> values)
    : shape_(shape), features_(features), values_(values) {
  const std::size_t n = values.size();
  kernel_.resize(n, n);
  slopes_.resize(n, n);
  inverse_.resize(n, n);
  scaled_.resize(features.columns(), n);
  product_.resize(features.columns(), n);
  sums_.resize(n);
}

double Evidence::operator()(const Theta& theta, std::vector<double>& gradient) {
  const std::size_t n = values_.size();
  const std::size_t count = features_.columns();
  const double signal = std::exp(theta[shape_.groups]);
  const double noise = std::exp(theta[shape_.groups + 1]);
  gradient.assign(theta.size(), 0.0);
  std::vector<double> point(count);
  for (std::size_t f = 0; f < count; ++f) {
    const double rate = std::exp(-theta[shape_.group[f]]);
    for (std::size_t i = 0; i < n; ++i) {
      scaled_(f, i) = features_(i, f) * rate;
    }
  }
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t f = 0; f < count; ++f) {
      point[f] = scaled_(f, i);
    }
    kernels::squared_distances(i + 1, count, point.data(), scaled_.row(0), scaled_.stride(),
                               kernel_.row(i));
    kernels::matern(i + 1, signal, kernel_.row(i), kernel_.row(i), slopes_.row(i));
    kernel_(i, i) = signal + noise;
  }
  double log_determinant = 0.0;
  if (!factor_and_invert(kernel_, attempt_, &log_determinant)) {
    return std::numeric_limits<double>::infinity();
  }
  solve(kernel_, values_, alpha_);
  gram(kernel_.view(), inverse_.view());

  // M = (alpha alpha^T - K^-1) o slopes, symmetric, kept in slopes_; its row sums, its product with
  // the scaled points.
  double trace = 0.0;
  double quadratic = 0.0;
  double squares = 0.0;
  std::ranges::fill(sums_, 0.0);
  for (std::size_t i = 0; i < n; ++i) {
    double sum = 0.0;
    double* const row = slopes_.row(i);
    const double* const inverse = inverse_.row(i);
    for (std::size_t j = 0; j < i; ++j) {
      row[j] *= alpha_[i] * alpha_[j] - inverse[j];
      sum += row[j];
      sums_[j] += row[j];
    }
    slopes_(i, i) = 0.0;  // (x - x)^2: the diagonal never counts
    sums_[i] += sum;
    trace += inverse_(i, i);
    quadratic += values_[i] * alpha_[i];
    squares += alpha_[i] * alpha_[i];
  }
  mirror(slopes_);
  multiply(scaled_.view(), slopes_.view(), product_.view(), Into::overwrite);
  for (std::size_t f = 0; f < count; ++f) {
    double sum = 0.0;
    for (std::size_t i = 0; i < n; ++i) {
      sum += scaled_(f, i) * (sums_[i] * scaled_(f, i) - product_(f, i));
    }
    gradient[shape_.group[f]] -= sum;
  }
  gradient[shape_.groups] =
      -0.5 * ((quadratic - noise * squares) - (static_cast<double>(n) - noise * trace));
  gradient[shape_.groups + 1] = shape_.fixes_noise ? 0.0 : -0.5 * noise * (squares - trace);
  double value = 0.5 * (quadratic + log_determinant +
                        static_cast<double>(n) * std::log(2.0 * std::numbers::pi));
  for (std::size_t k = 0; k < theta.size(); ++k) {
    const Prior prior = prior_of(shape_, k);
    if (k < shape_.groups + 1 || !shape_.fixes_noise) {
      const double z = (theta[k] - prior.mean) / prior.deviation;
      value += 0.5 * z * z;
      gradient[k] += z / prior.deviation;
    }
  }
  return value;
}

Theta fit(const KernelShape& shape, const Matrix& features, std::span<const double> values,
          const std::vector<Theta>& starts, int evaluations) {
  Evidence evidence(shape, features, values);
  Box box;
  for (std::size_t k = 0; k < shape.groups + 2; ++k) {
    const Prior prior = prior_of(shape, k);
    const bool is_fixed = shape.fixes_noise && k == shape.groups + 1;
    box.low.push_back(is_fixed ? std::log(fixed_noise) : prior.low);
    box.high.push_back(is_fixed ? std::log(fixed_noise) : prior.high);
  }
  std::vector<Start> walks;
  for (const Theta& start : starts) {
    walks.push_back({start, std::numeric_limits<double>::infinity(), true});
  }
  const auto function = [&](std::span<const std::vector<double>* const> points,
                            std::span<double> results, std::span<std::vector<double>> slopes) {
    for (std::size_t i = 0; i < points.size(); ++i) {
      results[i] = evidence(*points[i], slopes[i]);
    }
  };
  minimise(function, box, walks,
           {.evaluations = evaluations, .tolerance = 1e-3, .gradient_tolerance = 1e-2});
  const auto best = std::ranges::min_element(walks, {}, [](const Start& walk) {
    return std::isnan(walk.value) ? std::numeric_limits<double>::infinity() : walk.value;
  });
  return std::isfinite(best->value) ? best->point : starts.front();
}

GaussianProcess::GaussianProcess(KernelShape shape, Theta theta)
    : shape_(std::move(shape)), theta_(std::move(theta)) {
  require(theta_.size() == shape_.groups + 2,
          "GaussianProcess: a length a group, a signal and a noise");
  for (const std::size_t group : shape_.group) {
    rates_.push_back(std::exp(-theta_[group]));
  }
  signal_ = std::exp(theta_[shape_.groups]);
  noise_ = std::exp(theta_[shape_.groups + 1]);
}

void GaussianProcess::scale_into(std::span<const double> features, double* scaled) const {
  for (std::size_t f = 0; f < rates_.size(); ++f) {
    scaled[f] = features[f] * rates_[f];
  }
}

void GaussianProcess::place(std::size_t row, std::span<const double> features) {
  for (std::size_t f = 0; f < rates_.size(); ++f) {
    columns_(f, row) = features[f] * rates_[f];
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
  for (std::size_t i = 0; i < n; ++i) {
    place(i, {features.row(i), rates_.size()});
  }
  for (std::size_t i = 0; i < n; ++i) {
    scale_into({features.row(i), rates_.size()}, point.data());
    kernels::squared_distances(i + 1, rates_.size(), point.data(), columns_.row(0),
                               columns_.stride(), kernel.row(i));
    kernels::matern(i + 1, signal_, kernel.row(i), kernel.row(i), slopes.data());
    kernel(i, i) = signal_ + noise_;
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
  kernels::squared_distances(n, rates_.size(), point.data(), columns_.row(0), columns_.stride(),
                             row_.data());
  kernels::matern(n, signal_, row_.data(), row_.data(), slopes.data());
  double* const last = factor_.row(n);
  std::fill_n(last, n + 1, 0.0);
  double rest = signal_ + noise_;
  for (std::size_t i = 0; i < n; ++i) {
    whitened[i] = dot(factor_.row(i), row_.data(), i + 1);
    rest -= whitened[i] * whitened[i];
  }
  const double pivot = 1.0 / std::sqrt(std::max(rest, 1e-8 * signal_));
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
  answer.whitened.resize(m, n);
  answer.means.assign(m, 0.0);
  answer.deviations.assign(m, 0.0);
  std::vector<double> unused(with_slopes ? 0 : n);
  for (std::size_t i = 0; i < m; ++i) {
    scale_into({points.row(i), rates_.size()}, answer.scaled.row(i));
    kernels::squared_distances(n, rates_.size(), answer.scaled.row(i), columns_.row(0),
                               columns_.stride(), answer.covariance.row(i));
    kernels::matern(n, signal_, answer.covariance.row(i), answer.covariance.row(i),
                    with_slopes ? answer.slopes.row(i) : unused.data());
    answer.means[i] = dot(answer.covariance.row(i), alpha_.data(), alpha_.size());
  }
  multiply_by_lower_transposed(answer.covariance.view(), factor_.view(), answer.whitened.view());
  for (std::size_t i = 0; i < m; ++i) {
    const double known = dot(answer.whitened.row(i), answer.whitened.row(i), n);
    answer.deviations[i] = std::sqrt(std::max(signal_ - known, 1e-12 * signal_));
  }
}

void GaussianProcess::gradients(const Answer& answer, std::span<const double> by_mean,
                                const Matrix& by_whitened, Matrix& gradients) const {
  const std::size_t m = by_mean.size();
  weights_.resize(m, count_);
  multiply_by_lower(by_whitened.view(), factor_.view(), weights_.view());
  gradients.resize(m, rates_.size());
  for (std::size_t i = 0; i < m; ++i) {
    double* const weights = weights_.row(i);
    add_scaled(by_mean[i], alpha_.data(), weights, alpha_.size());
    double sum = 0.0;
    for (std::size_t j = 0; j < count_; ++j) {
      weights[j] *= answer.slopes(i, j);
      sum += weights[j];
    }
    for (std::size_t f = 0; f < rates_.size();
         ++f) {  // d k_j / d x_f = -slope_j (z_f - z_jf) / l_f
      gradients(i, f) =
          -rates_[f] * (answer.scaled(i, f) * sum - dot(weights, columns_.row(f), count_));
    }
  }
}

}  // namespace muster::hpo
