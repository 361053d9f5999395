// SPDX-License-Identifier: Apache-2.0
#include "hpo/dense_kernels_body.h"

namespace muster::hpo::kernels {
namespace {

struct Set {
  decltype(&tile) product;
  decltype(&squared_distances) distances;
  decltype(&matern) covariance;
  decltype(&add_matern) one_feature;
  decltype(&weigh) weights;
};

// Plain functions with their own target, not one file compiled twice: no template of another header
// can leak out of them into code that runs on every machine.
[[gnu::target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")]] void tile_512(std::size_t k,
                                                                                   const double* a,
                                                                                   const double* b,
                                                                                   double* sums) {
  tile_body(k, a, b, sums);
}
[[gnu::target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")]] void distances_512(
    std::size_t n, std::size_t f, const double* p, const double* c, std::size_t s, double* out) {
  squared_distances_body(n, f, p, c, s, out);
}
[[gnu::target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")]] void matern_512(
    std::size_t n, double s, const double* r, double* k, double* g) {
  matern_body(n, s, r, k, g);
}
[[gnu::target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")]] void add_matern_512(
    std::size_t n, double s, double r, double x, const double* c, double* k, double* g) {
  add_matern_body(n, s, r, x, c, k, g);
}
[[gnu::target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")]] Weighed weigh_512(
    std::size_t n, const double* w, const double* g, double x, const double* c, double* p) {
  return weigh_body(n, w, g, x, c, p);
}
[[gnu::target("avx2,fma")]] void tile_256(std::size_t k, const double* a, const double* b,
                                          double* sums) {
  tile_body(k, a, b, sums);
}
[[gnu::target("avx2,fma")]] void distances_256(std::size_t n, std::size_t f, const double* p,
                                               const double* c, std::size_t s, double* out) {
  squared_distances_body(n, f, p, c, s, out);
}
[[gnu::target("avx2,fma")]] void matern_256(std::size_t n, double s, const double* r, double* k,
                                            double* g) {
  matern_body(n, s, r, k, g);
}
[[gnu::target("avx2,fma")]] void add_matern_256(std::size_t n, double s, double r, double x,
                                                const double* c, double* k, double* g) {
  add_matern_body(n, s, r, x, c, k, g);
}
[[gnu::target("avx2,fma")]] Weighed weigh_256(std::size_t n, const double* w, const double* g,
                                              double x, const double* c, double* p) {
  return weigh_body(n, w, g, x, c, p);
}
void tile_any(std::size_t k, const double* a, const double* b, double* sums) {
  tile_body(k, a, b, sums);
}
void distances_any(std::size_t n, std::size_t f, const double* p, const double* c, std::size_t s,
                   double* out) {
  squared_distances_body(n, f, p, c, s, out);
}
void matern_any(std::size_t n, double s, const double* r, double* k, double* g) {
  matern_body(n, s, r, k, g);
}

void add_matern_any(std::size_t n, double s, double r, double x, const double* c, double* k,
                    double* g) {
  add_matern_body(n, s, r, x, c, k, g);
}
Weighed weigh_any(std::size_t n, const double* w, const double* g, double x, const double* c,
                  double* p) {
  return weigh_body(n, w, g, x, c, p);
}
const Set& chosen() {
  static const Set set = [] {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512dq") != 0 &&
        __builtin_cpu_supports("avx512vl") != 0) {
      return Set{tile_512, distances_512, matern_512, add_matern_512, weigh_512};
    }
    if (__builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0) {
      return Set{tile_256, distances_256, matern_256, add_matern_256, weigh_256};
    }
    return Set{tile_any, distances_any, matern_any, add_matern_any, weigh_any};
  }();
  return set;
}

}  // namespace

void tile(std::size_t depth, const double* a, const double* b, double* sums) {
  chosen().product(depth, a, b, sums);
}

void squared_distances(std::size_t count, std::size_t features, const double* point,
                       const double* columns, std::size_t stride, double* squares) {
  chosen().distances(count, features, point, columns, stride, squares);
}

void matern(std::size_t count, double signal, const double* squares, double* values,
            double* slopes) {
  chosen().covariance(count, signal, squares, values, slopes);
}

void add_matern(std::size_t count, double signal, double rate, double at, const double* column,
                double* values, double* slopes) {
  chosen().one_feature(count, signal, rate, at, column, values, slopes);
}

Weighed weigh(std::size_t count, const double* weights, const double* slopes, double at,
              const double* column, double* pulls) {
  return chosen().weights(count, weights, slopes, at, column, pulls);
}

}  // namespace muster::hpo::kernels
