// Compiled with -O3 -ffp-contract=off: a fused multiply-add would round differently from one
// register width to the next. SPDX-License-Identifier: Apache-2.0
#include "runtime/train/kernels.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "runtime/base/simd.h"

namespace muster::kernels {
namespace {

MUSTER_SIMD void add_two(float* __restrict sum, const float* __restrict a,
                         const float* __restrict b, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    sum[i] = a[i] + b[i];
  }
}

MUSTER_SIMD void add_to(float* __restrict sum, const float* __restrict a, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    sum[i] += a[i];
  }
}

void copy_or_zero(float* to, const float* from, std::size_t count) {
  if (from == nullptr) {
    std::memset(to, 0, count * sizeof(float));
  } else {
    std::memcpy(to, from, count * sizeof(float));
  }
}

template <bool has_momentum, bool nesterov>
[[gnu::always_inline]] inline void sgd_loop(float* __restrict p, float* __restrict m,
                                            const float* __restrict g, std::size_t count,
                                            float rate, float momentum, float decay) {
  for (std::size_t i = 0; i < count; ++i) {
    float gradient = g[i] + decay * p[i];
    if constexpr (has_momentum) {
      m[i] = momentum * m[i] + gradient;
      gradient = nesterov ? gradient + momentum * m[i] : m[i];
    }
    p[i] -= rate * gradient;
  }
}

MUSTER_SIMD void sgd_plain(float* p, const float* g, std::size_t count, float rate, float decay) {
  sgd_loop<false, false>(p, nullptr, g, count, rate, 0, decay);
}
MUSTER_SIMD void sgd_momentum(float* p, float* m, const float* g, std::size_t count, float rate,
                              float momentum, float decay) {
  sgd_loop<true, false>(p, m, g, count, rate, momentum, decay);
}
MUSTER_SIMD void sgd_nesterov(float* p, float* m, const float* g, std::size_t count, float rate,
                              float momentum, float decay) {
  sgd_loop<true, true>(p, m, g, count, rate, momentum, decay);
}

}  // namespace

void reduce_in_order(float* sum, std::span<const float* const> sources, std::size_t count) {
  if (sources.size() < 2) {
    copy_or_zero(sum, sources.empty() ? nullptr : sources[0], count);
    return;
  }
  add_two(sum, sources[0], sources[1], count);
  for (std::size_t s = 2; s < sources.size(); ++s) {
    add_to(sum, sources[s], count);
  }
}

std::size_t tree_depth(std::size_t sources) {
  return sources <= 1 ? 0 : static_cast<std::size_t>(std::bit_width(sources - 1));
}

void reduce_in_tree(float* sum, std::span<const float* const> sources, std::size_t count,
                    float* scratch) {
  if (sources.size() < 2) {
    copy_or_zero(sum, sources.empty() ? nullptr : sources[0], count);
    return;
  }
  const std::size_t half = std::bit_ceil(sources.size()) / 2;
  reduce_in_tree(sum, sources.first(half), count, scratch + count);
  reduce_in_tree(scratch, sources.subspan(half), count, scratch + count);
  add_to(sum, scratch, count);
}

double tree_sum(std::span<const double> values) {
  if (values.size() < 2) {
    return values.empty() ? 0.0 : values[0];
  }
  const std::size_t half = std::bit_ceil(values.size()) / 2;
  return tree_sum(values.first(half)) + tree_sum(values.subspan(half));
}

MUSTER_SIMD void scale(float* values, float factor, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    values[i] *= factor;
  }
}

// The largest exponent decides; integers, because a maximum of floats forgets NaN.
MUSTER_SIMD bool all_finite(const float* values, std::size_t count) {
  std::int32_t largest = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::int32_t bits = std::bit_cast<std::int32_t>(values[i]) & 0x7fffffff;
    largest = bits > largest ? bits : largest;
  }
  return largest < 0x7f800000;
}

MUSTER_SIMD double sum_of_squares(const float* values, std::size_t count) {
  constexpr std::size_t lanes = 8;
  std::array<double, lanes> sums{};
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    for (std::size_t k = 0; k < lanes; ++k) {
      const double value = values[i + k];
      sums[k] += value * value;
    }
  }
  for (std::size_t k = 0; i + k < count; ++k) {
    const double value = values[i + k];
    sums[k] += value * value;
  }
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

void sgd(float* parameters, float* momentum, const float* gradients, std::size_t count,
         const Sgd& rule) {
  if (momentum == nullptr || rule.momentum == 0.0F) {
    sgd_plain(parameters, gradients, count, rule.rate, rule.decay);
  } else if (rule.nesterov) {
    sgd_nesterov(parameters, momentum, gradients, count, rule.rate, rule.momentum, rule.decay);
  } else {
    sgd_momentum(parameters, momentum, gradients, count, rule.rate, rule.momentum, rule.decay);
  }
}

MUSTER_SIMD void adam(float* __restrict parameters, float* __restrict first,
                      float* __restrict second, const float* __restrict gradients,
                      std::size_t count, const Adam& rule) {
  const Adam r = rule;
  for (std::size_t i = 0; i < count; ++i) {
    const float parameter = parameters[i] * r.keep;
    const float gradient = gradients[i] + r.decay * parameter;
    first[i] = r.beta1 * first[i] + (1.0F - r.beta1) * gradient;
    second[i] = r.beta2 * second[i] + (1.0F - r.beta2) * gradient * gradient;
    parameters[i] = parameter - r.rate * first[i] /
                                    (__builtin_sqrtf(second[i]) * r.root_correction + r.epsilon);
  }
}

MUSTER_SIMD void average(float* __restrict averages, const float* __restrict values, float keep,
                         std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    averages[i] = keep * averages[i] + (1.0F - keep) * values[i];
  }
}

}  // namespace muster::kernels
