/// Bodies of max-pooling for images whose channels lie last, with a step of 2: windows of 3 by 3
/// and a margin of 1, as ResNets begin, or of 2 by 2, with what a convolution has before them. A
/// byte says which place of its window a maximum came from.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include "runtime/gpu/jobs.h"
#include "runtime/gpu/kernel_words.h"
#include "runtime/gpu/small_floats.h"

namespace muster::bodies {

inline constexpr std::uint32_t pool_step = 2;

/// Calls visit(column, wide, at) for this member's part of a row of pixels, `at` being the wide
/// access of the row.
template <class Team, class Visit>
MUSTER_ANYWHERE void for_row(const Team& team, std::uint32_t pixels, std::uint32_t wides,
                             Visit visit) {
  const auto size = static_cast<std::uint32_t>(team.size());
  for (auto i = static_cast<std::uint32_t>(team.rank()); i < pixels * wides; i += size) {
    visit(i / wides, i % wides, i);
  }
}

/// Row `row` of all images' rows of outputs. The first of equal values is taken, and a NaN stays,
/// as torch does.
template <class T, std::uint32_t pool_side, class Team>
MUSTER_ANYWHERE void pool_row(const Team& team, const PoolJob& job, std::uint64_t row) {
  constexpr int lanes = wide_count<T>;
  constexpr std::uint32_t margin = pool_side - 2;
  const PoolShape& shape = job.shape;
  const std::uint32_t wides = shape.channels / lanes;
  const std::uint64_t image = row / shape.rows_out();
  const std::uint32_t top = static_cast<std::uint32_t>(row % shape.rows_out()) * pool_step;
  const T* from =
      static_cast<const T*>(job.x) + image * shape.height * shape.width * shape.channels;
  const std::uint64_t to = row * shape.columns_out() * wides;
  for_row(team, shape.columns_out(), wides,
          [&](std::uint32_t column, std::uint32_t wide, std::uint32_t at) {
            Wide<T> seen[pool_side * pool_side];   // NOLINT(modernize-avoid-c-arrays)
            bool is_there[pool_side * pool_side];  // NOLINT(modernize-avoid-c-arrays)
            for (std::uint32_t k = 0; k < pool_side * pool_side; ++k) {
              const std::uint32_t y =
                  top + k / pool_side - margin;  // above the first: beyond the last
              const std::uint32_t x = column * pool_step + k % pool_side - margin;
              is_there[k] = y < shape.height && x < shape.width;
              seen[k] =
                  is_there[k]
                      ? load<Wide<T>>(from + (std::uint64_t{y} * shape.width + x) * shape.channels +
                                      wide * lanes)
                      : Wide<T>{};
            }
            float most[lanes];  // NOLINT(modernize-avoid-c-arrays)
            Several<std::uint8_t, lanes> chosen{};
            for (int lane = 0; lane < lanes; ++lane) {
              most[lane] = -INFINITY;
              chosen.v[lane] = static_cast<std::uint8_t>(
                  margin * ((top == 0 ? pool_side : 0) + (column == 0 ? 1 : 0)));
            }
            Wide<T> best{};
            for (std::uint32_t k = 0; k < pool_side * pool_side; ++k) {
              for (int lane = 0; lane < lanes; ++lane) {
                const float value = to_float(seen[k].v[lane]);
                if (is_there[k] && (value > most[lane] || value != value)) {
                  most[lane] = value;
                  chosen.v[lane] = static_cast<std::uint8_t>(k);
                }
              }
            }
            for (int lane = 0; lane < lanes; ++lane) {
              if (job.bias != nullptr) {
                const float sum = most[lane] + job.bias[wide * lanes + lane];
                most[lane] = sum < 0 ? 0 : sum;
              }
              from_float(most[lane], best.v[lane]);
            }
            store(static_cast<T*>(job.y) + (to + at) * lanes, best);
            store(job.chosen + (to + at) * lanes, chosen);
          });
}

/// Row `row` of all images' rows of inputs: what comes back from the at most four windows that have
/// a pixel.
template <class T, std::uint32_t pool_side, class Team>
MUSTER_ANYWHERE void pool_backward_row(const Team& team, const PoolBackwardJob& job,
                                       std::uint64_t row) {
  constexpr int lanes = wide_count<T>;
  const PoolShape& shape = job.shape;
  const std::uint32_t wides = shape.channels / lanes;
  const std::uint64_t image = row / shape.height;
  constexpr std::uint32_t margin = pool_side - 2;
  const auto y = static_cast<std::uint32_t>(row % shape.height);
  const std::uint64_t windows = image * shape.rows_out() * shape.columns_out();
  for_row(team, shape.width, wides, [&](std::uint32_t x, std::uint32_t wide, std::uint32_t at) {
    float sum[lanes]{};  // NOLINT(modernize-avoid-c-arrays)
    for (std::uint32_t i = 0; i < (pool_side == 3 ? 4 : 1); ++i) {
      const std::uint32_t down = y / 2 + i / 2;
      const std::uint32_t right = x / 2 + i % 2;
      // An even pixel is in the middle of one window alone.
      if (i / 2 > y % 2 || i % 2 > x % 2 || down >= shape.rows_out() ||
          right >= shape.columns_out()) {
        continue;
      }
      const std::uint32_t place =
          (y + margin - down * pool_step) * pool_side + (x + margin - right * pool_step);
      const std::uint64_t window =
          (windows + std::uint64_t{down} * shape.columns_out() + right) * shape.channels +
          wide * lanes;
      const auto gradient = load<Wide<T>>(static_cast<const T*>(job.gradient) + window);
      const auto chosen = load<Several<std::uint8_t, lanes>>(job.chosen + window);
      for (int lane = 0; lane < lanes; ++lane) {
        sum[lane] += chosen.v[lane] == place ? to_float(gradient.v[lane]) : 0.0F;
      }
    }
    Wide<T> to{};
    for (int lane = 0; lane < lanes; ++lane) {
      from_float(sum[lane], to.v[lane]);
    }
    store(static_cast<T*>(job.to) + (row * shape.width * wides + at) * lanes, to);
  });
}

}  // namespace muster::bodies
