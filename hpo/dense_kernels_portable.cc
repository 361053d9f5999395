// SPDX-License-Identifier: Apache-2.0
#include "hpo/dense_kernels_body.h"

namespace muster::hpo::kernels {

void tile(std::size_t depth, const double* a, const double* b, double* sums) {
  tile_body(depth, a, b, sums);
}

void squared_distances(std::size_t count, std::size_t features, const double* point,
                       const double* columns, std::size_t stride, double* squares) {
  squared_distances_body(count, features, point, columns, stride, squares);
}

void matern(std::size_t count, double signal, const double* squares, double* values,
            double* slopes) {
  matern_body(count, signal, squares, values, slopes);
}

void add_matern(std::size_t count, double signal, double rate, double at, const double* column,
                double* values, double* slopes) {
  add_matern_body(count, signal, rate, at, column, values, slopes);
}

Weighed weigh(std::size_t count, const double* weights, const double* slopes, double at,
              const double* column, double* pulls) {
  return weigh_body(count, weights, slopes, at, column, pulls);
}

}  // namespace muster::hpo::kernels
