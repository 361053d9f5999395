/// The three inner loops of the Gaussian process, compiled for several instruction sets and chosen
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

}  // namespace muster::hpo::kernels
