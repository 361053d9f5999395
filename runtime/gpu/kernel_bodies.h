/// The arithmetic of our kernels, once for the GPU and its twin on the CPU. A body is run by a
/// team: the threads of a block (kernels.cu), or one thread (host_kernels.cc). A team has rank(),
/// size(), sum(double), sum(float), max(float) and barrier(); all of it calls them together.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include "runtime/base/anywhere.h"
#include "runtime/gpu/jobs.h"
#include "runtime/gpu/small_floats.h"

namespace muster::bodies {

/// Four neighbours: one 16-byte load of float32.
template <class T>
struct alignas(4 * sizeof(T)) Four {
  T v[4];  // NOLINT(modernize-avoid-c-arrays): std::array's functions are not for the GPU
};

MUSTER_ANYWHERE std::uint64_t mixed(std::uint64_t z) {
  z += 0x9E3779B97F4A7C15ULL;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

/// mix() of runtime/base/random.h.
MUSTER_ANYWHERE std::uint64_t mix_words(std::uint64_t a, std::uint64_t b, std::uint64_t c) {
  return mixed(mixed(mixed(a) ^ b) ^ c);
}

/// philox() of runtime/base/random.h with the counter (low, 0).
MUSTER_ANYWHERE Four<std::uint32_t> philox_words(std::uint64_t key, std::uint64_t counter) {
  std::uint32_t c0 = static_cast<std::uint32_t>(counter);
  std::uint32_t c1 = static_cast<std::uint32_t>(counter >> 32);
  std::uint32_t c2 = 0;
  std::uint32_t c3 = 0;
  auto k0 = static_cast<std::uint32_t>(key);
  auto k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53} * c0;
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57} * c2;
    c0 = static_cast<std::uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<std::uint32_t>(p1);
    c2 = static_cast<std::uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<std::uint32_t>(p0);
    k0 += 0x9E3779B9U;
    k1 += 0xBB67AE85U;
  }
  return {{c0, c1, c2, c3}};
}

template <class From, class To, class Team>
MUSTER_ANYWHERE void pack(const Team& team, const From* from, To* to, const float* add,
                          std::uint64_t count) {
  for (std::uint64_t i = team.rank(); i < count; i += team.size()) {
    const float own = from == nullptr ? 0.0F : to_float(from[i]);
    from_float(add == nullptr ? own : own + add[i], to[i]);
  }
}

template <class T, class Team>
MUSTER_ANYWHERE double squares(const Team& team, const T* gradients, const Chunk& chunk) {
  double sum = 0;
  for (std::uint64_t i = team.rank(); i < chunk.count; i += team.size()) {
    const double value = to_float(gradients[chunk.at + i]);
    sum += value * value;
  }
  return team.sum(sum);
}

template <class Team>
MUSTER_ANYWHERE void sum_partials(const Team& team, const NormJob& job) {
  double sum = 0;
  for (std::uint64_t i = team.rank(); i < job.chunk_count; i += team.size()) {
    sum += job.partial[i];
  }
  double loss = 0;
  for (std::uint64_t i = team.rank(); i < job.loss_count; i += team.size()) {
    loss += job.losses[i];
  }
  sum = team.sum(sum);
  loss = team.sum(loss);
  if (team.rank() == 0) {
    job.notes->squares = sum;
    job.notes->loss = loss * job.loss_factor;
  }
}

MUSTER_ANYWHERE bool is_finite(double value) {
  return value - value == 0;
}

MUSTER_ANYWHERE void scale_loss(StepState& s, bool skips, std::uint32_t growth_every) {
  constexpr float largest = 65536.0F * 256.0F;
  if (skips) {
    s.loss_scale = s.loss_scale > 2 ? s.loss_scale / 2 : 1;
    s.good_steps = 0;
  } else if (++s.good_steps >= growth_every) {
    s.loss_scale = s.loss_scale < largest ? s.loss_scale * 2 : largest;
    s.good_steps = 0;
  }
}

/// Where a step's number (from 0) lies in the table of rates; the last one holds on.
MUSTER_ANYWHERE float rate_of(const DecideJob& job, std::uint64_t step) {
  return job.rates[step < job.rate_count ? step : job.rate_count - 1];
}

MUSTER_ANYWHERE void decide(const DecideJob& job) {
  StepState& s = *job.state;
  const double unscale = 1.0 / static_cast<double>(s.loss_scale);
  const double norm = sqrt(job.notes->squares) * unscale;
  const bool skips = !is_finite(norm) || !is_finite(job.notes->loss);
  const double clip = job.clip_norm > 0 ? job.clip_norm / (norm + 1e-6) : 1.0;
  StepResult result;
  result.step = s.step + 1;
  result.loss = job.notes->loss;
  result.norm = norm;
  result.loss_scale = s.loss_scale;
  result.skipped = skips ? 1 : 0;
  s.skips = skips ? 1 : 0;
  s.factor = static_cast<float>(unscale * (clip < 1.0 ? clip : 1.0));
  s.rate = rate_of(job, s.step);
  if (!skips) {
    const auto t = static_cast<double>(++s.updates);
    s.first_correction = static_cast<float>(1.0 / (1.0 - pow(job.beta1, t)));
    s.second_correction = static_cast<float>(1.0 / sqrt(1.0 - pow(job.beta2, t)));
    const double early = (1.0 + t) / (10.0 + t);
    s.ema_keep = static_cast<float>(early < job.ema ? early : job.ema);
  }
  if (job.scales_loss) {
    scale_loss(s, skips, job.growth_every);
  }
  job.results[s.step % job.result_count] = result;
  ++s.step;
}

/// The scalars of one chunk's update.
struct Rates {
  float rate = 0;   ///< Adam: over the first correction
  float decay = 0;  ///< added to the gradient
  float keep = 1;   ///< AdamW: multiplies the parameter first
};

MUSTER_ANYWHERE Rates rates_of(const UpdateJob& job, const Chunk& chunk) {
  const bool adam = job.kind == UpdateJob::Kind::adam || job.kind == UpdateJob::Kind::adamw;
  const float rate = job.state->rate * chunk.rate_factor;
  const float decay = chunk.decays != 0 ? job.decay : 0.0F;
  Rates rates;
  rates.rate = adam ? rate * job.state->first_correction : rate;
  rates.keep = job.kind == UpdateJob::Kind::adamw ? 1.0F - rate * decay : 1.0F;
  rates.decay = job.kind == UpdateJob::Kind::adamw ? 0.0F : decay;
  return rates;
}

/// One element; `first` and `second` are its state where the rule has any.
MUSTER_ANYWHERE float updated(const UpdateJob& job, const Rates& r, float p, float g, float& first,
                              float& second) {
  using Kind = UpdateJob::Kind;
  p *= r.keep;
  g += r.decay * p;
  if (job.kind == Kind::adam || job.kind == Kind::adamw) {
    first = job.beta1 * first + (1.0F - job.beta1) * g;
    second = job.beta2 * second + (1.0F - job.beta2) * g * g;
    return p - r.rate * first / (sqrtf(second) * job.state->second_correction + job.epsilon);
  }
  if (job.kind == Kind::sgd) {
    return p - r.rate * g;
  }
  first = job.momentum * first + g;
  return p - r.rate * (job.kind == Kind::nesterov ? g + job.momentum * first : first);
}

/// Four elements at a time: chunks begin on 64 bytes and so do the arena's segments; the tail of a
/// segment is done one by one.
template <class T, class Team>
MUSTER_ANYWHERE void update(const Team& team, const UpdateJob& job, const Chunk& chunk) {
  if (job.state->skips != 0) {
    return;
  }
  const Rates r = rates_of(job, chunk);
  const float factor = job.state->factor;
  const float keep = job.state->ema_keep;
  const T* g = static_cast<const T*>(job.gradients) + chunk.at;
  float* p = job.parameters + chunk.at;
  float* first = job.slots[0] == nullptr ? nullptr : job.slots[0] + chunk.state_at;
  float* second = job.slots[1] == nullptr ? nullptr : job.slots[1] + chunk.state_at;
  float* average = job.average == nullptr ? nullptr : job.average + chunk.state_at;
  const std::uint64_t whole = chunk.count / 4 * 4;
  for (std::uint64_t i = 4 * team.rank(); i < whole; i += 4 * team.size()) {
    auto p4 = *reinterpret_cast<const Four<float>*>(p + i);
    const auto g4 = *reinterpret_cast<const Four<T>*>(g + i);
    Four<float> a4{};
    Four<float> b4{};
    if (first != nullptr) {
      a4 = *reinterpret_cast<const Four<float>*>(first + i);
    }
    if (second != nullptr) {
      b4 = *reinterpret_cast<const Four<float>*>(second + i);
    }
    for (int k = 0; k < 4; ++k) {
      p4.v[k] = updated(job, r, p4.v[k], to_float(g4.v[k]) * factor, a4.v[k], b4.v[k]);
    }
    *reinterpret_cast<Four<float>*>(p + i) = p4;
    if (first != nullptr) {
      *reinterpret_cast<Four<float>*>(first + i) = a4;
    }
    if (second != nullptr) {
      *reinterpret_cast<Four<float>*>(second + i) = b4;
    }
    for (int k = 0; average != nullptr && k < 4; ++k) {
      average[i + k] = keep * average[i + k] + (1.0F - keep) * p4.v[k];
    }
  }
  for (std::uint64_t i = whole + team.rank(); i < chunk.count; i += team.size()) {
    float none = 0;
    p[i] = updated(job, r, p[i], to_float(g[i]) * factor, first == nullptr ? none : first[i],
                   second == nullptr ? none : second[i]);
    if (average != nullptr) {
      average[i] = keep * average[i] + (1.0F - keep) * p[i];
    }
  }
}

/// How an image is moved: right by `x`, down by `y`, and mirrored.
struct Shift {
  std::int64_t x = 0;
  std::int64_t y = 0;
  bool mirrors = false;
};

MUSTER_ANYWHERE Shift shift_of(const GatherJob& job, std::uint64_t place) {
  Shift shift;
  if (job.crop_padding == 0 && !job.flips) {
    return shift;
  }
  const auto words = philox_words(mix_words(job.seed, job.state->step, 0), place);
  const std::uint32_t span = 2 * job.crop_padding + 1;
  shift.x = static_cast<std::int64_t>(words.v[0] % span) - job.crop_padding;
  shift.y = static_cast<std::int64_t>(words.v[1] % span) - job.crop_padding;
  shift.mirrors = job.flips && (words.v[2] & 1U) != 0;
  return shift;
}

MUSTER_ANYWHERE float shifted(const GatherJob& job, const float* image, const Shift& shift,
                              std::uint64_t at) {
  const auto x = static_cast<std::int64_t>(at % job.width);
  const auto y = static_cast<std::int64_t>(at / job.width % job.height);
  const std::uint64_t channel = at / job.width / job.height;
  const std::int64_t column = (shift.mirrors ? job.width - 1 - x : x) - shift.x;
  const std::int64_t row = y - shift.y;
  if (column < 0 || row < 0 || column >= job.width || row >= job.height) {
    return 0;
  }
  return image[(channel * job.height + static_cast<std::uint64_t>(row)) * job.width +
               static_cast<std::uint64_t>(column)];
}

/// One row. Rows are whole numbers of 4-byte words.
template <class Team>
MUSTER_ANYWHERE void gather(const Team& team, const GatherJob& job, std::uint64_t row) {
  const std::uint64_t position =
      job.state->step % job.steps_per_epoch * job.batch + job.first_part + row;
  const std::uint64_t words = job.row_bytes / 4;
  const auto* from = static_cast<const std::uint32_t*>(job.rows) + job.order[position] * words;
  auto* to = static_cast<std::uint32_t*>(job.to) + row * words;
  if (job.channels == 0) {
    for (std::uint64_t i = team.rank(); i < words; i += team.size()) {
      to[i] = from[i];
    }
    return;
  }
  const Shift shift = shift_of(job, job.first_part + row);
  for (std::uint64_t i = team.rank(); i < words; i += team.size()) {
    to[i] = bits_of(shifted(job, reinterpret_cast<const float*>(from), shift, i));
  }
}

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
