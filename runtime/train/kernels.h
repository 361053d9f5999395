/// The loops over floats that end a step: reduce, norm, and the optimisers. Plain arrays, no
/// allocation, no threads of their own. The same input gives the same bits on every width of vector
/// registers. `count` is any; arrays need no alignment.
///
/// SGD     g += decay p;  m = momentum m + g;  p -= rate (nesterov ? g + momentum m : momentum ? m
/// : g) Adam    g += decay p;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  p -= rate / c1 * m
/// / (sqrt(v) / sqrt(c2) + epsilon) AdamW   p -= rate decay p;  then as Adam without its first
/// term.          c1 = 1 - b1^t, c2 = 1 - b2^t
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>

namespace muster::kernels {

/// sum[i] = sources[0][i] + sources[1][i] + ..., in that order. No sources: zeros.
void reduce_in_order(float* sum, std::span<const float* const> sources, std::size_t count);
/// The same in one fixed balanced tree over the sources: (s0 + s1) + (s2 + s3). A null source is
/// all zeros. `scratch` holds depth * count floats, depth = tree_depth(sources.size()).
void reduce_in_tree(float* sum, std::span<const float* const> sources, std::size_t count,
                    float* scratch);
std::size_t tree_depth(std::size_t sources);
double tree_sum(std::span<const double> values);  ///< the same tree, for single numbers

void scale(float* values, float factor, std::size_t count);
bool all_finite(const float* values, std::size_t count);
/// In double over eight interleaved lanes, whatever the width of the registers. Finite exactly if
/// all values are.
double sum_of_squares(const float* values, std::size_t count);

struct Sgd {
  float rate = 0;
  float momentum = 0;
  float decay = 0;
  bool nesterov = false;
};
/// `momentum` may be null when the rule has none.
void sgd(float* parameters, float* momentum, const float* gradients, std::size_t count,
         const Sgd& rule);

struct Adam {
  float rate = 0;  ///< rate / c1
  float beta1 = 0.9F;
  float beta2 = 0.999F;
  float root_correction = 1;  ///< 1 / sqrt(c2)
  float epsilon = 1e-8F;
  float decay = 0;  ///< Adam: added to the gradient
  float keep = 1;   ///< AdamW: 1 - rate * decay, multiplies the parameter first
};
void adam(float* parameters, float* first, float* second, const float* gradients, std::size_t count,
          const Adam& rule);

/// average = keep * average + (1 - keep) * values.
void average(float* averages, const float* values, float keep, std::size_t count);

}  // namespace muster::kernels
