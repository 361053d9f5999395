/// The inner loops of the Gaussian process, compiled for several instruction sets and chosen
/// when the program starts. Nothing here allocates. Results differ in the last bits between
/// machines, never between runs on one.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace muster::hpo::kernels {

constexpr std::size_t tile_rows = 4;
constexpr std::size_t tile_columns = 16;

/// sums[4][16] = sum over k of a[k][4] (x) b[k][16]: panels packed so that k is the slow index.
void tile(std::size_t depth, const double* a, const double* b, double* sums);

/// squares[j] = sum over f of (point[f] - columns[f * stride + j])^2
void squared_distances(std::size_t count, std::size_t features, const double* point,
                       const double* columns, std::size_t stride, double* squares);

/// Matern 5/2 of squared distances r^2: k = s (1 + a + a^2 / 3) exp(-a), slope = (5/3) s (1 + a)
/// exp(-a), a = sqrt(5) r. dk / d(r^2) = -slope / 2. `values` may be `squares`.
void matern(std::size_t count, double signal, const double* squares, double* values,
            double* slopes);

/// One feature alone, r = rate |at - column[j]|: its Matern of variance `signal` is added to
/// values[j]; slopes as above. They must not overlap.
void add_matern(std::size_t count, double signal, double rate, double at, const double* column,
                double* values, double* slopes);

struct Weighed {
  double sum = 0.0, moment = 0.0;
};
/// Sums over j of w_j = weights[j] slopes[j] (at - column[j]), and of w_j (at - column[j]); each
/// w_j is taken from pulls[j].
Weighed weigh(std::size_t count, const double* weights, const double* slopes, double at,
              const double* column, double* pulls);

}  // namespace muster::hpo::kernels
