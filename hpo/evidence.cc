// SPDX-License-Identifier: Apache-2.0
#include "hpo/evidence.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "hpo/dense_kernels.h"
#include "hpo/input_warp.h"
#include "hpo/kernel_matrix.h"
#include "hpo/minimise.h"

namespace muster::hpo {
namespace {

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

/// The noise of a deterministic function, and the parts of a kernel over many values.
bool is_fixed(const KernelShape& shape, std::size_t place, std::size_t values) {
  return (place == shape.noise() && shape.fixes_noise) ||
         (shape.is_additive && place == shape.additive_signal() &&
          values > KernelShape::additive_until);
}

}  // namespace

Evidence::Evidence(const KernelShape& shape, const Matrix& features, std::span<const double> values)
    : shape_(shape), features_(features), values_(values) {
  const std::size_t n = values.size();
  kernel_.resize(n, n);
  slopes_.resize(n, n);
  inverse_.resize(n, n);
  scaled_.resize(features.columns(), n);
  by_a_.resize(shape.warped.size(), n);
  by_b_.resize(shape.warped.size(), n);
  product_.resize(features.columns(), n);
  sums_.resize(n);
}

/// The points over their lengths, warped before where theta says so.
void Evidence::place(const Theta& theta) {
  const std::size_t n = values_.size();
  for (std::size_t f = 0; f < features_.columns(); ++f) {
    const double rate = std::exp(-theta[shape_.group[f]]);
    for (std::size_t i = 0; i < n; ++i) {
      scaled_(f, i) = features_(i, f) * rate;
    }
  }
  for (std::size_t k = 0; theta.size() > shape_.plain_size() && k < shape_.warped.size(); ++k) {
    const std::size_t f = shape_.warped[k];
    const double rate = std::exp(-theta[shape_.group[f]]);
    const double* const logs = theta.data() + shape_.plain_size() + 2 * k;
    const InputWarp warp{std::exp(logs[0]), std::exp(logs[1])};
    for (std::size_t i = 0; i < n; ++i) {
      const InputWarp::Point point = warp.at(features_(i, f));
      scaled_(f, i) = point.value * rate;
      by_a_(k, i) = point.by_log_a;
      by_b_(k, i) = point.by_log_b;
    }
  }
}

double Evidence::leave_one_out() const {
  double sum = 0.0;
  for (std::size_t i = 0; i < values_.size(); ++i) {
    const double precision = inverse_(i, i);
    sum += 0.5 * (std::log(precision) - alpha_[i] * alpha_[i] / precision -
                  std::log(2.0 * std::numbers::pi));
  }
  return sum;
}

/// K, in its lower triangle, and how it falls with the squared distance.
void Evidence::cover(const Theta& theta) {
  const double signal = std::exp(theta[shape_.signal()]);
  const double noise = std::exp(theta[shape_.noise()]);
  const std::size_t count = features_.columns();
  std::vector<double> point(count);
  for (std::size_t i = 0; i < values_.size(); ++i) {
    for (std::size_t f = 0; f < count; ++f) {
      point[f] = scaled_(f, i);
    }
    kernels::squared_distances(i + 1, count, point.data(), scaled_.row(0), scaled_.stride(),
                               kernel_.row(i));
    kernels::matern(i + 1, signal, kernel_.row(i), kernel_.row(i), slopes_.row(i));
    kernel_(i, i) = signal + noise;
  }
  parts_.cover(AdditiveScales::of(shape_, theta), scaled_, kernel_);
}

/// M = (alpha alpha^T - K^-1) o slopes, symmetric, kept in slopes_; its row sums, its product with
/// the scaled points.
Evidence::Sums Evidence::weigh_slopes() {
  Sums sums;
  std::ranges::fill(sums_, 0.0);
  for (std::size_t i = 0; i < values_.size(); ++i) {
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
    sums.trace += inverse_(i, i);
    sums.quadratic += values_[i] * alpha_[i];
    sums.squares += alpha_[i] * alpha_[i];
  }
  mirror(slopes_);
  multiply(scaled_.view(), slopes_.view(), product_.view(), Into::overwrite);
  return sums;
}

void Evidence::add_by_lengths(std::vector<double>& gradient) const {
  for (std::size_t f = 0; f < features_.columns(); ++f) {
    double sum = 0.0;
    for (std::size_t i = 0; i < values_.size(); ++i) {
      sum += scaled_(f, i) * (sums_[i] * scaled_(f, i) - product_(f, i));
    }
    gradient[shape_.group[f]] -= sum;
  }
}

void Evidence::set_by_warps(const Theta& theta, std::vector<double>& gradient) const {
  for (std::size_t k = 0; theta.size() > shape_.plain_size() && k < shape_.warped.size(); ++k) {
    const std::size_t f = shape_.warped[k];
    const double rate = std::exp(-theta[shape_.group[f]]);
    double by_a = 0.0;
    double by_b = 0.0;
    for (std::size_t i = 0; i < values_.size(); ++i) {
      const double by_warped =
          rate * (sums_[i] * scaled_(f, i) - product_(f, i) + parts_.pull(f, i));
      by_a += by_warped * by_a_(k, i);
      by_b += by_warped * by_b_(k, i);
    }
    gradient[shape_.plain_size() + 2 * k] = by_a;
    gradient[shape_.plain_size() + 2 * k + 1] = by_b;
  }
}

/// `value` with -ln p(theta).
double Evidence::with_prior(double value, const Theta& theta, std::vector<double>& gradient) const {
  for (std::size_t k = 0; k < theta.size(); ++k) {
    const Prior prior = Prior::of(shape_, k);
    if (!is_fixed(shape_, k, values_.size())) {
      const double z = (theta[k] - prior.mean) / prior.deviation;
      value += 0.5 * z * z;
      gradient[k] += z / prior.deviation;
    }
  }
  return value;
}

double Evidence::operator()(const Theta& theta, std::vector<double>& gradient) {
  const auto n = static_cast<double>(values_.size());
  const double noise = std::exp(theta[shape_.noise()]);
  gradient.assign(theta.size(), 0.0);
  place(theta);
  cover(theta);
  double log_determinant = 0.0;
  if (!factor_and_invert(kernel_, attempt_, &log_determinant)) {
    return std::numeric_limits<double>::infinity();
  }
  solve(kernel_, values_, alpha_);
  gram(kernel_.view(), inverse_.view());

  const Sums sums = weigh_slopes();
  add_by_lengths(gradient);
  // Signal, parts and noise make up K, and their slopes add up to that of its scale.
  gradient[shape_.signal()] =
      -0.5 * ((sums.quadratic - noise * sums.squares) - (n - noise * sums.trace));
  parts_.add_gradient(shape_, alpha_, inverse_, scaled_, gradient);
  if (shape_.is_additive) {
    gradient[shape_.signal()] -= gradient[shape_.additive_signal()];
  }
  set_by_warps(theta, gradient);
  gradient[shape_.noise()] = shape_.fixes_noise ? 0.0 : -0.5 * noise * (sums.squares - sums.trace);
  const double value =
      0.5 * (sums.quadratic + log_determinant + n * std::log(2.0 * std::numbers::pi));
  return with_prior(value, theta, gradient);
}

Theta fit(const KernelShape& shape, const Matrix& features, std::span<const double> values,
          const std::vector<Theta>& starts, int evaluations) {
  Evidence evidence(shape, features, values);
  Box box;
  std::vector<Start> walks;
  for (const Theta& start : starts) {
    walks.push_back({start, std::numeric_limits<double>::infinity(), true});
  }
  for (std::size_t k = 0; k < starts.front().size(); ++k) {
    const Prior prior = Prior::of(shape, k);
    box.low.push_back(prior.low);
    box.high.push_back(prior.high);
    if (is_fixed(shape, k, values.size())) {
      box.low[k] = box.high[k] =
          k == shape.noise() ? std::log(fixed_noise) : KernelShape::no_signal;
      std::ranges::for_each(walks, [&](Start& walk) { walk.point[k] = box.low[k]; });
    }
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
  return std::isfinite(best->value) ? best->point : walks.front().point;
}

double leave_one_out(const KernelShape& shape, const Matrix& features,
                     std::span<const double> values, const Theta& theta) {
  Evidence evidence(shape, features, values);
  std::vector<double> unused;
  return std::isfinite(evidence(theta, unused)) ? evidence.leave_one_out()
                                                : -std::numeric_limits<double>::infinity();
}

}  // namespace muster::hpo
