/// Bodies of the kernels of a model's layers: cross-entropy, residual with layer norm, dropout.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include "runtime/gpu/jobs.h"
#include "runtime/gpu/kernel_words.h"
#include "runtime/gpu/small_floats.h"

namespace muster::bodies {

/// Calls look(i, value) for this member's part of a row; rows that begin on four elements are read
/// four at a time.
template <class T, class Team, class Look>
MUSTER_ANYWHERE void look_at_row(const Team& team, const T* row, std::uint64_t count,
                                 bool is_aligned, Look look) {
  const std::uint64_t whole = is_aligned ? count / 4 * 4 : 0;
  for (std::uint64_t i = 4 * team.rank(); i < whole; i += 4 * team.size()) {
    const auto four = *reinterpret_cast<const Four<T>*>(row + i);
    for (std::uint64_t k = 0; k < 4; ++k) {
      look(i + k, to_float(four.v[k]));
    }
  }
  for (std::uint64_t i = whole + team.rank(); i < count; i += team.size()) {
    look(i, to_float(row[i]));
  }
}

/// row[i] = change(i, row[i]), likewise.
template <class T, class Team, class Change>
MUSTER_ANYWHERE void change_row(const Team& team, T* row, std::uint64_t count, bool is_aligned,
                                Change change) {
  const std::uint64_t whole = is_aligned ? count / 4 * 4 : 0;
  for (std::uint64_t i = 4 * team.rank(); i < whole; i += 4 * team.size()) {
    auto four = *reinterpret_cast<const Four<T>*>(row + i);
    for (std::uint64_t k = 0; k < 4; ++k) {
      from_float(change(i + k, to_float(four.v[k])), four.v[k]);
    }
    *reinterpret_cast<Four<T>*>(row + i) = four;
  }
  for (std::uint64_t i = whole + team.rank(); i < count; i += team.size()) {
    from_float(change(i, to_float(row[i])), row[i]);
  }
}

/// A row's logarithm of the sum of exponentials, and the sum of its values where asked for.
struct RowSums {
  float log_sum = 0;
  float total = 0;
};

template <class T, class Team>
MUSTER_ANYWHERE RowSums row_sums(const Team& team, const CrossEntropyJob& job, const T* logits) {
  float largest = -INFINITY;
  float sum = 0;
  float total = 0;
  look_at_row(team, logits, job.classes, job.stride % 4 == 0,
              [&](std::uint64_t /*i*/, float value) {
                if (value > largest) {
                  sum *= quick_exp(largest - value);
                  largest = value;
                }
                sum += quick_exp(value - largest);
                total += value;
              });
  const float all = team.max(largest);
  sum = team.sum(largest == -INFINITY ? 0.0F : sum * quick_exp(largest - all));
  return {all + logf(sum), job.smoothing > 0 ? team.sum(total) : 0.0F};
}

/// One row: one pass for the maximum and the sum together, one that leaves the gradient.
template <class T, class Team>
MUSTER_ANYWHERE void cross_entropy(const Team& team, const CrossEntropyJob& job,
                                   std::uint64_t row) {
  T* logits = static_cast<T*>(job.logits) + row * job.stride;
  const std::int64_t label = job.labels[row];
  const bool counts = label >= 0 && static_cast<std::uint64_t>(label) < job.classes;
  const RowSums sums = row_sums(team, job, logits);
  const auto classes = static_cast<float>(job.classes);
  if (team.rank() == 0) {
    const float hard = sums.log_sum - (counts ? to_float(logits[label]) : 0.0F);
    const float soft = sums.log_sum - sums.total / classes;
    job.losses[row] =
        counts ? job.scale * ((1 - job.smoothing) * hard + job.smoothing * soft) : 0.0F;
  }
  if (job.gradient_scale == nullptr) {
    return;
  }
  team.barrier();  // the label's logit is read before it is overwritten
  const float scale = counts ? *job.gradient_scale * job.scale : 0.0F;
  const float spread = job.smoothing / classes;
  change_row(team, logits, job.classes, job.stride % 4 == 0, [&](std::uint64_t i, float value) {
    const bool is_label = static_cast<std::int64_t>(i) == label;
    const float target = spread + (is_label ? 1 - job.smoothing : 0.0F);
    return scale * (quick_exp(value - sums.log_sum) - target);
  });
}

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
      from_float(value + to_float(residual[i]), kept[i]);
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
  float* sums = job.partial + part * 2 * job.width;
  for (std::uint64_t i = team.rank(); i < job.width; i += team.size()) {
    float weight = 0;
    float bias = 0;
    for (std::uint64_t row = begin; row < end; ++row) {
      const float g = to_float(static_cast<const T*>(job.gradient)[row * job.width + i]);
      const float x = to_float(static_cast<const T*>(job.input)[row * job.width + i]);
      weight += g * (x - job.mean[row]) * job.inverse[row];
      bias += g;
    }
    sums[i] = weight;
    sums[job.width + i] = bias;
  }
}

/// Columns [first, first + size of the team).
template <class Team>
MUSTER_ANYWHERE void norm_weights_sum(const Team& team, const AddNormBackwardJob& job,
                                      std::uint64_t column) {
  const std::uint64_t i = column + team.rank();
  if (i >= job.width) {
    return;
  }
  float weight = 0;
  float bias = 0;
  for (std::uint64_t part = 0; part < job.parts; ++part) {
    weight += job.partial[part * 2 * job.width + i];
    bias += job.partial[(part * 2 + 1) * job.width + i];
  }
  job.weight_gradient[i] = weight;
  job.bias_gradient[i] = bias;
}

/// Elements [4 block, 4 block + 4).
template <class T>
MUSTER_ANYWHERE void dropout(const DropoutJob& job, std::uint64_t key, std::uint64_t block) {
  const auto words = philox_words(key, block);
  const auto kept = static_cast<float>(1 / (1 - job.share));
  for (std::uint64_t k = 0; k < 4 && 4 * block + k < job.count; ++k) {
    const double unit = static_cast<double>(words.v[k] >> 8) * 0x1.0p-24;
    const float x = to_float(static_cast<const T*>(job.x)[4 * block + k]);
    from_float(unit < job.share ? 0.0F : x * kept, static_cast<T*>(job.to)[4 * block + k]);
  }
}

MUSTER_ANYWHERE std::uint64_t dropout_key(const DropoutJob& job) {
  const std::uint64_t pass = mix_words(mix_words(job.seed, job.state->step, 0), job.lane, job.part);
  return mix_words(pass, job.place, 0);
}

}  // namespace muster::bodies
