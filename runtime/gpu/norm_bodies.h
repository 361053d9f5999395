/// Bodies of the kernels of layer norm with the addition before it. Rows that fit are held in the
/// team's registers, so that each value is read once; any row takes the plain way.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include "runtime/gpu/jobs.h"
#include "runtime/gpu/kernel_words.h"
#include "runtime/gpu/small_floats.h"

namespace muster::bodies {

template <class T, class Team>
MUSTER_ANYWHERE void add_norm(const Team& team, const AddNormJob& job, std::uint64_t row) {
  const std::uint64_t first = row * job.width;
  const T* x = static_cast<const T*>(job.x) + first;
  const T* residual =
      job.residual == nullptr ? nullptr : static_cast<const T*>(job.residual) + first;
  T* kept = residual == nullptr ? nullptr : static_cast<T*>(job.sum) + first;
  float sum = 0;
  for (std::uint64_t i = team.rank(); i < job.width; i += team.size()) {
    float value = to_float(x[i]);
    if (residual != nullptr) {
      const float x_bias = job.x_bias == nullptr ? 0.0F : job.x_bias[i];
      from_float(value + x_bias + to_float(residual[i]), kept[i]);
      value = to_float(kept[i]);
    }
    sum += value;
  }
  const auto width = static_cast<float>(job.width);
  const float mean = team.sum(sum) / width;
  const T* input = residual == nullptr ? x : kept;
  float squares = 0;
  for (std::uint64_t i = team.rank(); i < job.width; i += team.size()) {
    const float distance = to_float(input[i]) - mean;
    squares += distance * distance;
  }
  const float inverse = 1.0F / sqrtf(team.sum(squares) / width + job.epsilon);
  T* y = static_cast<T*>(job.y) + first;
  for (std::uint64_t i = team.rank(); i < job.width; i += team.size()) {
    from_float((to_float(input[i]) - mean) * inverse * job.weight[i] + job.bias[i], y[i]);
  }
  if (team.rank() == 0) {
    job.mean[row] = mean;
    job.inverse[row] = inverse;
  }
}

template <class T, class Team>
MUSTER_ANYWHERE void add_norm_backward_row(const Team& team, const AddNormBackwardJob& job,
                                           std::uint64_t row) {
  const std::uint64_t first = row * job.width;
  const T* gradient = static_cast<const T*>(job.gradient) + first;
  const T* input = static_cast<const T*>(job.input) + first;
  const float mean = job.mean[row];
  const float inverse = job.inverse[row];
  float sum = 0;
  float dot = 0;
  for (std::uint64_t i = team.rank(); i < job.width; i += team.size()) {
    const float g = to_float(gradient[i]) * job.weight[i];
    sum += g;
    dot += g * (to_float(input[i]) - mean) * inverse;
  }
  const auto width = static_cast<float>(job.width);
  sum = team.sum(sum) / width;
  dot = team.sum(dot) / width;
  const T* add = job.add == nullptr ? nullptr : static_cast<const T*>(job.add) + first;
  T* to = static_cast<T*>(job.to) + first;
  for (std::uint64_t i = team.rank(); i < job.width; i += team.size()) {
    const float unit = (to_float(input[i]) - mean) * inverse;
    const float own = inverse * (to_float(gradient[i]) * job.weight[i] - sum - unit * dot);
    from_float(add == nullptr ? own : own + to_float(add[i]), to[i]);
  }
}

/// Part `part` of the rows: sums over them for each column, so that no two blocks add to one place.
template <class T, class Team>
MUSTER_ANYWHERE void norm_weights_part(const Team& team, const AddNormBackwardJob& job,
                                       std::uint64_t part) {
  const std::uint64_t begin = job.rows * part / job.parts;
  const std::uint64_t end = job.rows * (part + 1) / job.parts;
  float* sums = job.partial + part * 3 * job.width;
  for (std::uint64_t i = team.rank(); i < job.width; i += team.size()) {
    float weight = 0;
    float bias = 0;
    float whole = 0;
    for (std::uint64_t row = begin; row < end; ++row) {
      const float g = to_float(static_cast<const T*>(job.gradient)[row * job.width + i]);
      const float x = to_float(static_cast<const T*>(job.input)[row * job.width + i]);
      weight += g * (x - job.mean[row]) * job.inverse[row];
      bias += g;
      whole += to_float(static_cast<const T*>(job.to)[row * job.width + i]);
    }
    sums[i] = weight;
    sums[job.width + i] = bias;
    sums[2 * job.width + i] = whole;
  }
}

/// Can a team of `members`, each holding `wides` wide accesses, hold a row?
template <class T>
MUSTER_ANYWHERE bool holds(std::uint64_t width, std::uint64_t members, int wides) {
  constexpr std::uint64_t lanes = wide_count<T>;
  return width % lanes == 0 && width <= members * lanes * static_cast<std::uint64_t>(wides);
}

/// Where access `w` of this member begins in a row.
template <class T, class Team>
MUSTER_ANYWHERE std::uint64_t held_at(const Team& team, int w) {
  return (static_cast<std::uint64_t>(w) * team.size() + team.rank()) * wide_count<T>;
}

/// The weights of one wide access of T, which are float32; zeros from null.
template <class T>
class HeldWeights {
 public:
  MUSTER_ANYWHERE explicit HeldWeights(const float* from) {
    for (int f = 0; f < fours && from != nullptr; ++f) {
      values_[f] = load<Four<float>>(from + 4 * f);
    }
  }
  MUSTER_ANYWHERE float of(int k) const { return values_[k / 4].v[k % 4]; }

 private:
  static constexpr int fours = wide_count<T> / 4;
  Four<float> values_[fours]{};  // NOLINT(modernize-avoid-c-arrays)
};

/// All of a row's accesses are asked for before the first is used.
template <class T, int wides, class Team>
MUSTER_ANYWHERE void hold(const Team& team, const void* from, std::uint64_t first,
                          std::uint64_t width, Wide<T> (&held)[wides]) {
  for (int w = 0; w < wides; ++w) {
    if (held_at<T>(team, w) < width) {
      held[w] = load<Wide<T>>(static_cast<const T*>(from) + first + held_at<T>(team, w));
    }
  }
}

/// Reads a row, adds its bias and the residual where there is one, and keeps the sum there.
template <class T, int wides, class Team>
MUSTER_ANYWHERE void hold_sum(const Team& team, const AddNormJob& job, std::uint64_t first,
                              Wide<T> (&held)[wides]) {
  hold(team, job.x, first, job.width, held);
  if (job.residual == nullptr) {
    return;
  }
  Wide<T> more[wides]{};
  hold(team, job.residual, first, job.width, more);
  for (int w = 0; w < wides; ++w) {
    const std::uint64_t i = held_at<T>(team, w);
    if (i >= job.width) {
      continue;
    }
    const HeldWeights<T> x_bias(job.x_bias == nullptr ? nullptr : job.x_bias + i);
    for (int k = 0; k < wide_count<T>; ++k) {
      from_float(to_float(held[w].v[k]) + x_bias.of(k) + to_float(more[w].v[k]), held[w].v[k]);
    }
    store(static_cast<T*>(job.sum) + first + i, held[w]);
  }
}

template <class T, int wides, class Team>
MUSTER_ANYWHERE void add_norm_held(const Team& team, const AddNormJob& job, std::uint64_t row) {
  const std::uint64_t first = row * job.width;
  Wide<T> held[wides]{};
  hold_sum(team, job, first, held);
  float sum = 0;
  for (const Wide<T>& wide : held) {  // what no member holds is zero
    for (const T& each : wide.v) {
      sum += to_float(each);
    }
  }
  const auto width = static_cast<float>(job.width);
  const float mean = team.sum(sum) / width;
  float squares = 0;
  for (int w = 0; w < wides; ++w) {
    for (int k = 0; k < wide_count<T> && held_at<T>(team, w) < job.width; ++k) {
      const float distance = to_float(held[w].v[k]) - mean;
      squares += distance * distance;
    }
  }
  const float inverse = 1.0F / sqrtf(team.sum(squares) / width + job.epsilon);
  for (int w = 0; w < wides; ++w) {
    const std::uint64_t i = held_at<T>(team, w);
    if (i >= job.width) {
      continue;
    }
    const HeldWeights<T> weight(job.weight + i);
    const HeldWeights<T> bias(job.bias + i);
    Wide<T> y;
    for (int k = 0; k < wide_count<T>; ++k) {
      const float unit = (to_float(held[w].v[k]) - mean) * inverse;
      from_float(unit * weight.of(k) + bias.of(k), y.v[k]);
    }
    store(static_cast<T*>(job.y) + first + i, y);
  }
  if (team.rank() == 0) {
    job.mean[row] = mean;
    job.inverse[row] = inverse;
  }
}

/// What one member adds up over rows, for its own columns.
template <class T, int wides>
struct HeldSums {
  float weight[wides][wide_count<T>]{};
  float bias[wides][wide_count<T>]{};
  float whole[wides][wide_count<T>]{};  ///< of what goes on
};

/// One row of the backward pass, its share of the weights' gradients included.
template <class T, int wides, class Team>
MUSTER_ANYWHERE void add_norm_backward_held(const Team& team, const AddNormBackwardJob& job,
                                            std::uint64_t row, HeldSums<T, wides>& sums) {
  const std::uint64_t first = row * job.width;
  const float mean = job.mean[row];
  const float inverse = job.inverse[row];
  Wide<T> gradient[wides]{};
  Wide<T> input[wides]{};
  hold(team, job.gradient, first, job.width, gradient);
  hold(team, job.input, first, job.width, input);
  float sum = 0;
  float dot = 0;
  for (int w = 0; w < wides; ++w) {
    const std::uint64_t i = held_at<T>(team, w);
    if (i >= job.width) {
      continue;
    }
    const HeldWeights<T> weight(job.weight + i);
    for (int k = 0; k < wide_count<T>; ++k) {
      const float g = to_float(gradient[w].v[k]);
      const float unit = (to_float(input[w].v[k]) - mean) * inverse;
      sums.weight[w][k] += g * unit;
      sums.bias[w][k] += g;
      sum += g * weight.of(k);
      dot += g * weight.of(k) * unit;
    }
  }
  const auto width = static_cast<float>(job.width);
  sum = team.sum(sum) / width;
  dot = team.sum(dot) / width;
  Wide<T> to[wides]{};  // what is added, then what comes out
  if (job.add != nullptr) {
    hold(team, job.add, first, job.width, to);
  }
  for (int w = 0; w < wides; ++w) {
    const std::uint64_t i = held_at<T>(team, w);
    if (i >= job.width) {
      continue;
    }
    const HeldWeights<T> weight(job.weight + i);
    for (int k = 0; k < wide_count<T>; ++k) {
      const float unit = (to_float(input[w].v[k]) - mean) * inverse;
      const float own = inverse * (to_float(gradient[w].v[k]) * weight.of(k) - sum - unit * dot);
      from_float(own + to_float(to[w].v[k]), to[w].v[k]);
      sums.whole[w][k] += to_float(to[w].v[k]);
    }
    store(static_cast<T*>(job.to) + first + i, to[w]);
  }
}

}  // namespace muster::bodies
