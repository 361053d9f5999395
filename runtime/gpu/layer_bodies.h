/// Bodies of the kernels of a model's layers: cross-entropy and dropout.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include "runtime/gpu/jobs.h"
#include "runtime/gpu/kernel_words.h"
#include "runtime/gpu/small_floats.h"

namespace muster::bodies {

/// Calls look(i, values) for this member's part of a row, `values` being neighbours from i on; rows
/// that begin on 16 bytes are read 16 bytes at a time.
template <class T, class Team, class Look>
MUSTER_ANYWHERE void look_at_row(const Team& team, const T* row, std::uint64_t count, bool is_whole,
                                 Look look) {
  constexpr std::uint64_t width = wide_count<T>;
  const std::uint64_t whole = is_whole ? count / width * width : 0;
  for (std::uint64_t i = width * team.rank(); i < whole; i += width * team.size()) {
    look(i, load<Wide<T>>(row + i));
  }
  for (std::uint64_t i = whole + team.rank(); i < count; i += team.size()) {
    look(i, Several<T, 1>{{row[i]}});
  }
}

/// row[i] = change(i, row[i]), likewise.
template <class T, class Team, class Change>
MUSTER_ANYWHERE void change_row(const Team& team, T* row, std::uint64_t count, bool is_whole,
                                Change change) {
  constexpr std::uint64_t width = wide_count<T>;
  const std::uint64_t whole = is_whole ? count / width * width : 0;
  for (std::uint64_t i = width * team.rank(); i < whole; i += width * team.size()) {
    auto wide = load<Wide<T>>(row + i);
    for (std::uint64_t k = 0; k < width; ++k) {
      from_float(change(i + k, to_float(wide.v[k])), wide.v[k]);
    }
    store(row + i, wide);
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

/// Rows are read in wide accesses where all of them begin on one.
template <class T>
MUSTER_ANYWHERE bool rows_are_whole(const CrossEntropyJob& job) {
  return job.stride % wide_count<T> == 0 && is_aligned<Wide<T>>(job.logits);
}

/// The running sum is scaled anew only where neighbours bring a new maximum.
template <class T, class Team>
MUSTER_ANYWHERE RowSums row_sums(const Team& team, const CrossEntropyJob& job, const T* logits) {
  float largest = -INFINITY;
  float sum = 0;
  float total = 0;
  const auto look = [&](std::uint64_t /*i*/, const auto& group) {
    float top = largest;
    for (const auto& each : group.v) {
      top = to_float(each) > top ? to_float(each) : top;
    }
    if (top > largest) {
      sum *= quick_exp(largest - top);
      largest = top;
    }
    for (const auto& each : group.v) {
      const float value = to_float(each);
      sum += quick_exp(value - largest);
      total += value;
    }
  };
  look_at_row(team, logits, job.classes, rows_are_whole<T>(job), look);
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
  change_row(team, logits, job.classes, rows_are_whole<T>(job), [&](std::uint64_t i, float value) {
    const bool is_label = static_cast<std::int64_t>(i) == label;
    const float target = spread + (is_label ? 1 - job.smoothing : 0.0F);
    return scale * (quick_exp(value - sums.log_sum) - target);
  });
  for (std::uint64_t i = team.rank(); i < job.padding; i += team.size()) {
    from_float(0, logits[job.classes + i]);
  }
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

/// Rows `first`, `first` + `step` and so on below `end` of one column: dz, and its sum. A NaN was
/// not cut off.
template <class T>
MUSTER_ANYWHERE float rectified_backward(const RectifiedBackwardJob& job, std::uint64_t column,
                                         std::uint64_t first, std::uint64_t step,
                                         std::uint64_t end) {
  float sum = 0;
  for (std::uint64_t row = first; row < end; row += step) {
    const std::uint64_t at = row * job.width + column;
    const float y = to_float(static_cast<const T*>(job.y)[at]);
    const float own = y <= 0 ? 0.0F : to_float(static_cast<const T*>(job.gradient)[at]);
    from_float(own, static_cast<T*>(job.to)[at]);
    sum += own;
  }
  return sum;
}

}  // namespace muster::bodies
