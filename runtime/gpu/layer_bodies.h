/// Bodies of the kernels of a model's layers: cross-entropy, dropout, and what goes back to a bias.
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
      top = fmaxf(to_float(each), top);
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
  const float unit = job.gradient_scale == nullptr ? 0.0F : *job.gradient_scale;
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
  const float scale = counts ? unit * job.scale : 0.0F;
  const float spread = job.smoothing / classes;
  const float target = spread + (1 - job.smoothing);
  const std::uint32_t own = counts ? static_cast<std::uint32_t>(label) : ~0U;
  change_row(team, logits, job.classes, rows_are_whole<T>(job), [&](std::uint64_t i, float value) {
    const float wanted = static_cast<std::uint32_t>(i) == own ? target : spread;
    return scale * (quick_exp(value - sums.log_sum) - wanted);
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

// The tanh form of gelu(z), z (1 + tanh(u)) / 2, is z times the logistic function of 2 u, which
// loses no digits where z is far below zero.
inline constexpr float gelu_beta = 0.7978845608028654F;  // sqrt(2 / pi)
inline constexpr float gelu_kappa = 0.044715F;
MUSTER_ANYWHERE float gelu_share(float z) {
  return quick_logistic(2 * gelu_beta * z * (1 + gelu_kappa * z * z));
}
MUSTER_ANYWHERE float gelu_slope(float z) {
  const float s = gelu_share(z);
  return s + 2 * gelu_beta * z * s * (1 - s) * (1 + 3 * gelu_kappa * z * z);
}

/// Elements [lanes * group, lanes * (group + 1)), all of them there.
template <class T, int lanes>
MUSTER_ANYWHERE void gelu(const GeluJob& job, std::uint64_t group) {
  auto values = load<Several<T, lanes>>(static_cast<const T*>(job.x) + group * lanes);
  for (T& value : values.v) {
    const float z = to_float(value);
    from_float(z * gelu_share(z), value);
  }
  store(static_cast<T*>(job.to) + group * lanes, values);
}

/// dz = back(gradient, kept) of rows `first`, `first` + `step` and so on below `end` of
/// neighbouring columns, and its sums. Several rows are asked for before the first is used.
template <class T, int lanes, class Back>
MUSTER_ANYWHERE void bias_backward_by(const BiasBackwardJob& job, std::uint64_t column,
                                      std::uint64_t first, std::uint64_t step, std::uint64_t end,
                                      float (&sums)[lanes], Back back) {
  using Group = Several<T, lanes>;
  constexpr int at_once = 4;
  const std::uint64_t together =
      job.kind == BiasBackwardJob::Kind::split ? job.width / job.gradients.size() : job.width;
  const T* from = static_cast<const T*>(job.gradients[column / together]) + column % together;
  for (std::uint64_t row = first; row < end; row += at_once * step) {
    Group gradient[at_once]{};
    Group kept[at_once]{};
    for (int r = 0; r < at_once; ++r) {
      const std::uint64_t own = row + static_cast<std::uint64_t>(r) * step;
      if (own < end) {
        gradient[r] = load<Group>(from + own * together);
      }
      if (own < end && job.kept != nullptr) {
        kept[r] = load<Group>(static_cast<const T*>(job.kept) + own * job.width + column);
      }
    }
    for (int r = 0; r < at_once; ++r) {
      const std::uint64_t own = row + static_cast<std::uint64_t>(r) * step;
      if (own >= end) {
        continue;
      }
      for (int k = 0; k < lanes; ++k) {
        from_float(back(to_float(gradient[r].v[k]), to_float(kept[r].v[k])), gradient[r].v[k]);
        sums[k] += to_float(gradient[r].v[k]);
      }
      store(static_cast<T*>(job.to) + own * job.width + column, gradient[r]);
    }
  }
}

/// A NaN is not cut off.
template <class T, int lanes>
MUSTER_ANYWHERE void bias_backward(const BiasBackwardJob& job, std::uint64_t column,
                                   std::uint64_t first, std::uint64_t step, std::uint64_t end,
                                   float (&sums)[lanes]) {
  const auto by = [&](auto back) {
    bias_backward_by<T>(job, column, first, step, end, sums, back);
  };
  switch (job.kind) {
    case BiasBackwardJob::Kind::rectified:
      return by([](float gradient, float y) { return y <= 0 ? 0.0F : gradient; });
    case BiasBackwardJob::Kind::gelu:
      return by([](float gradient, float z) { return gradient * gelu_slope(z); });
    case BiasBackwardJob::Kind::split:
    case BiasBackwardJob::Kind::head:  // which has its own way, below
      return by([](float gradient, float /*kept*/) { return gradient; });
  }
}

/// What a column adds up over rows: of its bias, and of the weights behind it.
struct HeadSums {
  float bias = 0;
  float weight[BiasBackwardJob::most_outputs]{};  // NOLINT(modernize-avoid-c-arrays)
};

/// Rows `first`, `first` + `step` and so on of a column; several are asked for before the first is
/// used.
MUSTER_ANYWHERE void head_backward(const BiasBackwardJob& job, std::uint64_t column,
                                   std::uint64_t first, std::uint64_t step, HeadSums& sums) {
  constexpr std::uint64_t most = BiasBackwardJob::most_outputs;
  const auto* gradients = static_cast<const float*>(job.gradients[0]);
  const auto* kept = static_cast<const float*>(job.kept);
  auto* to = static_cast<float*>(job.to);
  float weight[most];  // NOLINT(modernize-avoid-c-arrays)
  for (std::uint64_t k = 0; k < most; ++k) {
    weight[k] = k < job.outputs ? job.weight[k * job.width + column] : 0;
  }
  constexpr int at_once = 4;
  for (std::uint64_t row = first; row < job.rows; row += at_once * step) {
    float y[at_once]{};               // NOLINT(modernize-avoid-c-arrays)
    float gradient[at_once][most]{};  // NOLINT(modernize-avoid-c-arrays)
    for (int r = 0; r < at_once; ++r) {
      const std::uint64_t own = row + static_cast<std::uint64_t>(r) * step;
      y[r] = own < job.rows ? kept[own * job.width + column] : 0;
      for (std::uint64_t k = 0; k < most; ++k) {
        gradient[r][k] = own < job.rows && k < job.outputs ? gradients[own * job.outputs + k] : 0;
      }
    }
    for (int r = 0; r < at_once; ++r) {
      const std::uint64_t own = row + static_cast<std::uint64_t>(r) * step;
      float back = 0;
      for (std::uint64_t k = 0; k < most; ++k) {
        back += gradient[r][k] * weight[k];
        sums.weight[k] += gradient[r][k] * y[r];
      }
      back = y[r] <= 0 ? 0 : back;
      sums.bias += back;
      if (own < job.rows) {
        to[own * job.width + column] = back;
      }
    }
  }
}

/// The bias behind: a member's sum over its rows of output `k`.
MUSTER_ANYWHERE float head_bias(const BiasBackwardJob& job, std::uint64_t k, std::uint64_t first,
                                std::uint64_t step) {
  float sum = 0;
  for (std::uint64_t row = first; row < job.rows; row += step) {
    sum += static_cast<const float*>(job.gradients[0])[row * job.outputs + k];
  }
  return sum;
}

}  // namespace muster::bodies
