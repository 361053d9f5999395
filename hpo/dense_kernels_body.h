/// The bodies of the inner loops, inlined into a function for each instruction set. Included by
/// those sources alone.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "hpo/dense_kernels.h"

namespace muster::hpo::kernels {

[[gnu::always_inline]] inline void tile_body(std::size_t depth, const double* __restrict a,
                                             const double* __restrict b, double* __restrict sums) {
  typedef double Lanes __attribute__((vector_size(64), aligned(8), may_alias));
  Lanes sum[tile_rows][2] = {};
  for (std::size_t k = 0; k < depth; ++k) {
    const Lanes left = *reinterpret_cast<const Lanes*>(b + k * tile_columns);
    const Lanes right = *reinterpret_cast<const Lanes*>(b + k * tile_columns + 8);
    for (std::size_t i = 0; i < tile_rows; ++i) {
      sum[i][0] += a[k * tile_rows + i] * left;
      sum[i][1] += a[k * tile_rows + i] * right;
    }
  }
  for (std::size_t i = 0; i < tile_rows; ++i) {
    *reinterpret_cast<Lanes*>(sums + i * tile_columns) = sum[i][0];
    *reinterpret_cast<Lanes*>(sums + i * tile_columns + 8) = sum[i][1];
  }
}

[[gnu::always_inline]] inline void squared_distances_body(std::size_t count, std::size_t features,
                                                          const double* __restrict point,
                                                          const double* __restrict columns,
                                                          std::size_t stride,
                                                          double* __restrict squares) {
  for (std::size_t j = 0; j < count; ++j) {
    squares[j] = 0.0;
  }
  for (std::size_t f = 0; f < features; ++f) {
    const double* __restrict column = columns + f * stride;
    const double x = point[f];
    for (std::size_t j = 0; j < count; ++j) {
      const double difference = x - column[j];
      squares[j] += difference * difference;
    }
  }
}

/// exp for x <= 0 without branches, to about 2e-16: 2^n times a polynomial on [-ln 2 / 2, ln 2 /
/// 2].
[[gnu::always_inline]] inline double exp_of_negative(double x) {
  constexpr double shift =
      6755399441055744.0;  // 1.5 * 2^52: adding it rounds to a whole number, kept in the low bits
  x = x < -700.0 ? -700.0 : x;
  const double rounded = x * 1.4426950408889634 + shift;
  const double n = rounded - shift;
  const double r = (x - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
  double p = 1.6059043836821613e-10;
  p = p * r + 2.0876756987868099e-09;
  p = p * r + 2.5052108385441720e-08;
  p = p * r + 2.7557319223985888e-07;
  p = p * r + 2.7557319223985893e-06;
  p = p * r + 2.4801587301587302e-05;
  p = p * r + 1.9841269841269841e-04;
  p = p * r + 1.3888888888888889e-03;
  p = p * r + 8.3333333333333332e-03;
  p = p * r + 4.1666666666666664e-02;
  p = p * r + 1.6666666666666666e-01;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  return p * std::bit_cast<double>((std::bit_cast<std::uint64_t>(rounded) + 1023U) << 52U);
}

[[gnu::always_inline]] inline void matern_body(std::size_t count, double signal,
                                               const double* squares, double* values,
                                               double* slopes) {
  for (std::size_t j = 0; j < count; ++j) {
    const double a = std::sqrt(5.0 * squares[j]);
    const double e = signal * exp_of_negative(-a);
    values[j] = e * (1.0 + a + a * a * (1.0 / 3.0));
    slopes[j] = (5.0 / 3.0) * e * (1.0 + a);
  }
}

[[gnu::always_inline]] inline void add_matern_body(std::size_t count, double signal, double rate,
                                                   double at, const double* __restrict column,
                                                   double* __restrict values,
                                                   double* __restrict slopes) {
  const double root = rate * 2.2360679774997896964;
  for (std::size_t j = 0; j < count; ++j) {
    const double a = root * std::abs(at - column[j]);
    const double e = signal * exp_of_negative(-a);
    values[j] += e * (1.0 + a + a * a * (1.0 / 3.0));
    slopes[j] = (5.0 / 3.0) * e * (1.0 + a);
  }
}

[[gnu::always_inline]] inline Weighed weigh_body(std::size_t count,
                                                 const double* __restrict weights,
                                                 const double* __restrict slopes, double at,
                                                 const double* __restrict column,
                                                 double* __restrict pulls) {
  typedef double Lanes __attribute__((vector_size(64), aligned(8), may_alias));
  constexpr std::size_t width = 8;
  Lanes sums = {};
  Lanes moments = {};
  std::size_t j = 0;
  for (; j + width <= count; j += width) {
    const Lanes difference = at - *reinterpret_cast<const Lanes*>(column + j);
    const Lanes w = *reinterpret_cast<const Lanes*>(weights + j) *
                    *reinterpret_cast<const Lanes*>(slopes + j) * difference;
    sums += w;
    moments += w * difference;
    *reinterpret_cast<Lanes*>(pulls + j) -= w;
  }
  Weighed weighed;
  for (std::size_t lane = 0; lane < width; ++lane) {
    weighed.sum += sums[lane];
    weighed.moment += moments[lane];
  }
  for (; j < count; ++j) {
    const double difference = at - column[j];
    const double w = weights[j] * slopes[j] * difference;
    weighed.sum += w;
    weighed.moment += w * difference;
    pulls[j] -= w;
  }
  return weighed;
}

}  // namespace muster::hpo::kernels
