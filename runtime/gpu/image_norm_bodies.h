/// Bodies of batch norm for images whose channels lie last, with what is added to it and the
/// rectifier behind: rows of channels, sums over rows for each channel, and a pass that applies
/// them. A member of a team stays with its channels, so that their scalars stay in registers.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include "runtime/gpu/jobs.h"
#include "runtime/gpu/kernel_words.h"
#include "runtime/gpu/small_floats.h"

namespace muster::bodies {

/// Which wide columns of a matrix, and which rows, are one member's.
struct Columns {
  std::uint64_t first = 0;
  std::uint64_t step = 1;
  std::uint64_t row = 0;
  std::uint64_t rows = 1;  ///< members that share a column
};

/// A member for whom no row is left over has no column.
template <class Team>
MUSTER_ANYWHERE Columns columns_of(const Team& team, std::uint64_t wides) {
  if (wides >= team.size()) {
    return {team.rank(), team.size(), 0, 1};
  }
  Columns own{team.rank() % wides, wides, team.rank() / wides, team.size() / wides};
  own.first = own.row < own.rows ? own.first : wides;
  return own;
}

/// Two sums for each of a wide column's channels.
template <class T>
struct PairSums {
  float a[wide_count<T>]{};  // NOLINT(modernize-avoid-c-arrays)
  float b[wide_count<T>]{};  // NOLINT(modernize-avoid-c-arrays)
};

/// Sums over rows [begin, end), into partial[0, 2 * channels). prepare(column) gives what is needed
/// of a column again and again; get(row, column) is asked for several rows before the first of them
/// is given to add(prepared, got, row, column, sums). `shared`: two floats a channel of a wide
/// access and member.
template <class T, int at_once, class Team, class Prepare, class Get, class Add>
MUSTER_ANYWHERE void column_sums(const Team& team, float* shared, std::uint64_t channels,
                                 std::uint64_t begin, std::uint64_t end, float* partial,
                                 Prepare prepare, Get get, Add add) {
  constexpr int lanes = wide_count<T>;
  const std::uint64_t wides = channels / lanes;
  const Columns own = columns_of(team, wides);
  for (std::uint64_t c = own.first; c < wides; c += own.step) {
    PairSums<T> sums;
    const auto prepared = prepare(c * lanes);
    std::uint64_t row = begin + own.row;
    for (; row + (at_once - 1) * own.rows < end; row += at_once * own.rows) {
      decltype(get(row, c)) got[at_once];  // NOLINT(modernize-avoid-c-arrays)
      for (int r = 0; r < at_once; ++r) {
        got[r] = get(row + static_cast<std::uint64_t>(r) * own.rows, c * lanes);
      }
      for (int r = 0; r < at_once; ++r) {
        add(prepared, got[r], row + static_cast<std::uint64_t>(r) * own.rows, c * lanes, sums);
      }
    }
    for (; row < end; row += own.rows) {
      add(prepared, get(row, c * lanes), row, c * lanes, sums);
    }
    float* a = own.rows == 1 ? partial + c * lanes : shared + team.rank() * 2 * lanes;
    float* b = own.rows == 1 ? partial + channels + c * lanes : a + lanes;
    for (int k = 0; k < lanes; ++k) {
      a[k] = sums.a[k];
      b[k] = sums.b[k];
    }
  }
  if (own.rows == 1) {
    return;
  }
  team.barrier();
  for (std::uint64_t i = team.rank(); i < channels; i += team.size()) {
    float a = 0;
    float b = 0;
    for (std::uint64_t row = 0; row < own.rows; ++row) {
      const float* of_row = shared + (row * wides + i / lanes) * 2 * lanes + i % lanes;
      a += of_row[0];
      b += of_row[lanes];
    }
    partial[i] = a;
    partial[channels + i] = b;
  }
}

/// Distances from a channel's first value, and their squares: no digits are lost where the mean is
/// far from zero.
template <class T, class Team>
MUSTER_ANYWHERE void image_norm_part(const Team& team, float* shared, const ImageNormJob& job,
                                     std::uint64_t part) {
  const auto* x = static_cast<const T*>(job.x);
  column_sums<T, 4>(
      team, shared, job.channels, job.rows * part / job.parts, job.rows * (part + 1) / job.parts,
      job.partial + part * 2 * job.channels,
      [&](std::uint64_t column) { return load<Wide<T>>(x + column); },
      [&](std::uint64_t row, std::uint64_t column) {
        return load<Wide<T>>(x + row * job.channels + column);
      },
      [](const Wide<T>& pivot, const Wide<T>& values, std::uint64_t /*row*/,
         std::uint64_t /*column*/, PairSums<T>& sums) {
        for (int k = 0; k < wide_count<T>; ++k) {
          const float apart = to_float(values.v[k]) - to_float(pivot.v[k]);
          sums.a[k] += apart;
          sums.b[k] += apart * apart;
        }
      });
}

/// One channel, from the sums of all rows; moves its running statistics.
template <class T>
MUSTER_ANYWHERE void image_norm_finish(const ImageNormJob& job, std::uint64_t channel, double a,
                                       double b) {
  const auto count = static_cast<double>(job.rows);
  const double shift = a / count;
  const double spread = b / count - shift * shift;
  const double variance = spread > 0 ? spread : 0;
  const double mean = static_cast<double>(to_float(static_cast<const T*>(job.x)[channel])) + shift;
  const double keep = 1 - static_cast<double>(job.momentum);
  job.mean[channel] = static_cast<float>(mean);
  job.inverse[channel] = static_cast<float>(1 / sqrt(variance + static_cast<double>(job.epsilon)));
  job.running_mean[channel] =
      static_cast<float>(keep * job.running_mean[channel] + (1 - keep) * mean);
  job.running_variance[channel] = static_cast<float>(keep * job.running_variance[channel] +
                                                     (1 - keep) * variance * count / (count - 1));
}

/// y = x * scale + shift of one channel.
struct Line {
  float scale = 0;
  float shift = 0;
};
MUSTER_ANYWHERE Line line_of(float weight, float bias, float mean, float inverse) {
  return {weight * inverse, bias - mean * weight * inverse};
}

template <class T, class Team>
MUSTER_ANYWHERE void image_norm_apply(const Team& team, const ImageNormJob& job,
                                      std::uint64_t part) {
  constexpr int lanes = wide_count<T>;
  const std::uint64_t wides = job.channels / lanes;
  const std::uint64_t end = job.rows * (part + 1) / job.parts;
  const Columns own = columns_of(team, wides);
  for (std::uint64_t c = own.first; c < wides; c += own.step) {
    Line lines[lanes];  // NOLINT(modernize-avoid-c-arrays)
    for (int k = 0; k < lanes; ++k) {
      const std::uint64_t i = c * lanes + k;
      lines[k] = line_of(job.weight[i], job.bias[i], job.mean[i], job.inverse[i]);
    }
    for (std::uint64_t row = job.rows * part / job.parts + own.row; row < end; row += own.rows) {
      const std::uint64_t at = row * job.channels + c * lanes;
      const auto x = load<Wide<T>>(static_cast<const T*>(job.x) + at);
      Wide<T> y{};
      if (job.residual != nullptr) {
        y = load<Wide<T>>(static_cast<const T*>(job.residual) + at);
      }
      for (int k = 0; k < lanes; ++k) {
        const float sum = to_float(x.v[k]) * lines[k].scale + lines[k].shift + to_float(y.v[k]);
        from_float(job.rectifies && !(sum > 0) ? (sum != sum ? sum : 0.0F) : sum, y.v[k]);
      }
      store(static_cast<T*>(job.y) + at, y);
    }
  }
}

/// What the backward pass needs of one wide column's channels, in registers.
template <class T>
struct BackwardLines {
  MUSTER_ANYWHERE BackwardLines(const ImageNormBackwardJob& job, std::uint64_t column) {
    for (int k = 0; k < wide_count<T>; ++k) {
      const std::uint64_t i = column + k;
      unit[k] = {job.inverse[i], -job.mean[i] * job.inverse[i]};
      out[k] = line_of(job.weight[i], job.bias[i], job.mean[i], job.inverse[i]);
    }
  }
  Line unit[wide_count<T>];  // NOLINT(modernize-avoid-c-arrays): of the normalised input
  Line out[wide_count<T>];   // NOLINT(modernize-avoid-c-arrays): of what came out
};

MUSTER_ANYWHERE float on(const Line& line, float x) {
  return x * line.scale + line.shift;
}

/// The gradient before the rectifier. What was cut off follows from y where it was kept (something
/// was added), else from x.
MUSTER_ANYWHERE float before(const ImageNormBackwardJob& job, float gradient, const Line& out,
                             float x, float y) {
  return job.rectifies && (job.y != nullptr ? y : on(out, x)) <= 0 ? 0.0F : gradient;
}

/// What the sums of the backward pass read of a row.
template <class T>
struct BackwardReads {
  Wide<T> gradient;
  Wide<T> other;
  Wide<T> x;
  Wide<T> y;
};

/// Where something was added, its gradient is that before the rectifier: written here, once, and
/// read by the next pass in place of all that it comes from.
template <class T, class Team>
MUSTER_ANYWHERE void image_norm_backward_part(const Team& team, float* shared,
                                              const ImageNormBackwardJob& job, std::uint64_t part) {
  column_sums<T, 1>(
      team, shared, job.channels, job.rows * part / job.parts, job.rows * (part + 1) / job.parts,
      job.partial + part * 2 * job.channels,
      [&](std::uint64_t column) { return BackwardLines<T>(job, column); },
      [&](std::uint64_t row, std::uint64_t column) {
        const std::uint64_t at = row * job.channels + column;
        const auto of = [&](const void* rows) {
          return rows == nullptr ? Wide<T>{} : load<Wide<T>>(static_cast<const T*>(rows) + at);
        };
        return BackwardReads<T>{of(job.gradient), of(job.other), of(job.x), of(job.y)};
      },
      [&](const BackwardLines<T>& lines, const BackwardReads<T>& read, std::uint64_t row,
          std::uint64_t column, PairSums<T>& sums) {
        Wide<T> gradient{};
        for (int k = 0; k < wide_count<T>; ++k) {
          const float x = to_float(read.x.v[k]);
          from_float(before(job, to_float(read.gradient.v[k]) + to_float(read.other.v[k]),
                            lines.out[k], x, to_float(read.y.v[k])),
                     gradient.v[k]);
          const float own = to_float(gradient.v[k]);  // as the next pass reads it
          sums.a[k] += own;
          sums.b[k] += own * on(lines.unit[k], x);
        }
        if (job.residual_to != nullptr) {
          store(static_cast<T*>(job.residual_to) + row * job.channels + column, gradient);
        }
      });
}

/// dx = w / s (g - mean(g) - unit mean(g unit)), which is a g + p x + q for each channel.
template <class T, class Team>
MUSTER_ANYWHERE void image_norm_backward_apply(const Team& team, const ImageNormBackwardJob& job,
                                               std::uint64_t part) {
  constexpr int lanes = wide_count<T>;
  const std::uint64_t wides = job.channels / lanes;
  const std::uint64_t end = job.rows * (part + 1) / job.parts;
  const auto share = 1.0F / static_cast<float>(job.rows);
  const bool adds = job.residual_to != nullptr;
  const auto* gradients = static_cast<const T*>(adds ? job.residual_to : job.gradient);
  const Columns own = columns_of(team, wides);
  for (std::uint64_t c = own.first; c < wides; c += own.step) {
    const BackwardLines<T> lines(job, c * lanes);
    Line back[lanes];  // NOLINT(modernize-avoid-c-arrays)
    for (int k = 0; k < lanes; ++k) {
      const std::uint64_t i = c * lanes + k;
      const float slope = -lines.out[k].scale * share * job.weight_gradient[i];
      back[k] = {slope * lines.unit[k].scale,
                 slope * lines.unit[k].shift - lines.out[k].scale * share * job.bias_gradient[i]};
    }
    for (std::uint64_t row = job.rows * part / job.parts + own.row; row < end; row += own.rows) {
      const std::uint64_t at = row * job.channels + c * lanes;
      auto to = load<Wide<T>>(static_cast<const T*>(job.x) + at);
      const auto gradient = load<Wide<T>>(gradients + at);
      for (int k = 0; k < lanes; ++k) {
        const float x = to_float(to.v[k]);
        const float g = to_float(gradient.v[k]);
        const float before_it = adds ? g : before(job, g, lines.out[k], x, 0);
        from_float(before_it * lines.out[k].scale + on(back[k], x), to.v[k]);
      }
      store(static_cast<T*>(job.to) + at, to);
    }
  }
}

}  // namespace muster::bodies
