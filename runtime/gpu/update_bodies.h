/// Bodies of the kernels between backward and the next step: gradients packed, their norm, what the
/// step makes of it, the update.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include "runtime/gpu/jobs.h"
#include "runtime/gpu/kernel_words.h"
#include "runtime/gpu/small_floats.h"

namespace muster::bodies {

/// to[i] = from[i] + add[i], which is handed to use() as `to` holds it. Four elements a round are
/// asked for before the first is written.
template <class From, class To, class Team, class Use>
MUSTER_ANYWHERE void pack(const Team& team, const From* from, To* to, const float* add,
                          std::uint64_t count, Use use) {
  constexpr std::uint64_t at_once = 4;
  for (std::uint64_t first = team.rank(); first < count; first += at_once * team.size()) {
    float sum[at_once]{};  // NOLINT(modernize-avoid-c-arrays)
    for (std::uint64_t k = 0; k < at_once; ++k) {
      const std::uint64_t i = first + k * team.size();
      if (i < count) {
        sum[k] = (from == nullptr ? 0.0F : to_float(from[i])) + (add == nullptr ? 0.0F : add[i]);
      }
    }
    for (std::uint64_t k = 0; k < at_once; ++k) {
      const std::uint64_t i = first + k * team.size();
      if (i < count) {
        To packed;
        from_float(sum[k], packed);
        to[i] = packed;
        use(to_float(packed));
      }
    }
  }
}
template <class From, class To, class Team>
MUSTER_ANYWHERE void pack(const Team& team, const From* from, To* to, const float* add,
                          std::uint64_t count) {
  pack(team, from, to, add, count, [](float /*packed*/) {});
}

/// pack(), with the squares of what this member wrote.
template <class From, class To, class Team>
MUSTER_ANYWHERE double pack_squares(const Team& team, const From* from, To* to, const float* add,
                                    std::uint64_t count) {
  double sum = 0;
  pack(team, from, to, add, count, [&](float packed) {
    const double value = packed;
    sum += value * value;
  });
  return sum;
}

template <class T, class Team>
MUSTER_ANYWHERE double squares(const Team& team, const T* gradients, const Chunk& chunk) {
  const T* own = gradients + chunk.at;
  const std::uint64_t whole = is_aligned<Four<T>>(own) ? chunk.count / 4 * 4 : 0;
  double sum = 0;
  for (std::uint64_t i = 4 * team.rank(); i < whole; i += 4 * team.size()) {
    const auto four = load<Four<T>>(own + i);
    for (int k = 0; k < 4; ++k) {
      const double value = to_float(four.v[k]);
      sum += value * value;
    }
  }
  for (std::uint64_t i = whole + team.rank(); i < chunk.count; i += team.size()) {
    const double value = to_float(own[i]);
    sum += value * value;
  }
  return team.sum(sum);
}

/// Block `block` of `blocks`: its squares, and its share of the losses.
template <class Team>
MUSTER_ANYWHERE void leave_part(const Team& team, const NormJob& job, double own,
                                std::uint64_t block, std::uint64_t blocks) {
  const std::uint64_t end = job.loss_count * (block + 1) / blocks;
  double loss = 0;
  for (std::uint64_t i = job.loss_count * block / blocks + team.rank(); i < end; i += team.size()) {
    loss += job.losses[i];
  }
  loss = team.sum(loss);
  if (team.rank() == 0) {
    job.partial[2 * block] = own;
    job.partial[2 * block + 1] = loss;
  }
}

/// Block `block` of blocks(): the squares of its chunk, and its share of the losses.
template <class T, class Team>
MUSTER_ANYWHERE void norm_part(const Team& team, const NormJob& job, const T* gradients,
                               std::uint64_t block) {
  leave_part(team, job, block < job.chunk_count ? squares(team, gradients, job.chunks[block]) : 0,
             block, job.blocks());
}

/// When all parts are there; the first member hears what the notes are.
template <class Team>
MUSTER_ANYWHERE StepNotes sum_parts(const Team& team, const NormJob& job, std::uint64_t blocks) {
  const volatile double* partial = job.partial;  // other blocks wrote it a moment ago
  double sum = 0;
  double loss = 0;
  for (std::uint64_t i = team.rank(); i < blocks; i += team.size()) {
    sum += partial[2 * i];
    loss += partial[2 * i + 1];
  }
  sum = team.sum(sum);
  loss = team.sum(loss);
  const StepNotes notes{.loss = loss * job.loss_factor, .squares = sum};
  if (team.rank() == 0) {
    *job.notes = notes;
  }
  return notes;
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

/// What decide() reads besides the notes: asked for while they are still on their way, for one
/// thread waits for memory long.
struct Before {
  StepState state;
  float rate = 0;
};
MUSTER_ANYWHERE Before before_decide(const DecideJob& job) {
  const StepState state = *job.state;
  return {state, job.rates[state.step & (job.rate_count - 1)]};
}

MUSTER_ANYWHERE void decide(const DecideJob& job, const StepNotes& notes, const Before& before) {
  StepState s = before.state;
  const double unscale = 1.0 / static_cast<double>(s.loss_scale);
  const double norm = sqrt(notes.squares) * unscale;
  const bool skips = !is_finite(norm) || !is_finite(notes.loss);
  const double clip = job.clip_norm > 0 ? job.clip_norm / (norm + 1e-6) : 1.0;
  StepResult result;
  result.step = s.step + 1;
  result.loss = notes.loss;
  result.norm = norm;
  result.loss_scale = s.loss_scale;
  result.skipped = skips ? 1 : 0;
  s.skips = skips ? 1 : 0;
  s.factor = static_cast<float>(unscale * (clip < 1.0 ? clip : 1.0));
  s.rate = before.rate;
  if (!skips) {
    const auto t = static_cast<double>(++s.updates);
    if (job.corrects) {
      s.first_correction = static_cast<float>(1.0 / (1.0 - pow(job.beta1, t)));
      s.second_correction = static_cast<float>(1.0 / sqrt(1.0 - pow(job.beta2, t)));
    }
    const double early = (1.0 + t) / (10.0 + t);
    s.ema_keep = static_cast<float>(early < job.ema ? early : job.ema);
  }
  if (job.scales_loss) {
    scale_loss(s, skips, job.growth_every);
  }
  job.results[s.step % job.result_count] = result;
  ++s.step;
  *job.state = s;
}
MUSTER_ANYWHERE void decide(const DecideJob& job) {
  decide(job, *job.notes, before_decide(job));
}

/// The scalars of one chunk's update.
struct Rates {
  float rate = 0;   ///< Adam: over the first correction
  float decay = 0;  ///< added to the gradient
  float keep = 1;   ///< AdamW: multiplies the parameter first
  float second_correction = 1;
};

MUSTER_ANYWHERE Rates rates_of(const UpdateJob& job, const Chunk& chunk) {
  const bool adam = job.kind == UpdateJob::Kind::adam || job.kind == UpdateJob::Kind::adamw;
  const float rate = job.state->rate * chunk.rate_factor;
  const float decay = chunk.decays != 0 ? job.decay : 0.0F;
  Rates rates;
  rates.rate = adam ? rate * job.state->first_correction : rate;
  rates.keep = job.kind == UpdateJob::Kind::adamw ? 1.0F - rate * decay : 1.0F;
  rates.decay = job.kind == UpdateJob::Kind::adamw ? 0.0F : decay;
  rates.second_correction = job.state->second_correction;
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
    return p - r.rate * first / (sqrtf(second) * r.second_correction + job.epsilon);
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
    auto p4 = load<Four<float>>(p + i);
    const auto g4 = load<Four<T>>(g + i);
    Four<float> a4{};
    Four<float> b4{};
    if (first != nullptr) {
      a4 = load<Four<float>>(first + i);
    }
    if (second != nullptr) {
      b4 = load<Four<float>>(second + i);
    }
    for (int k = 0; k < 4; ++k) {
      p4.v[k] = updated(job, r, p4.v[k], to_float(g4.v[k]) * factor, a4.v[k], b4.v[k]);
    }
    store(p + i, p4);
    if (first != nullptr) {
      store(first + i, a4);
    }
    if (second != nullptr) {
      store(second + i, b4);
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

/// Part `part` of what the step moved.
template <class Team>
MUSTER_ANYWHERE void settle_moved(const Team& team, const UpdateJob& job, std::uint64_t part) {
  const bool skips = job.state->skips != 0;
  const std::uint32_t* from = skips ? job.kept : job.moved;
  std::uint32_t* to = skips ? job.moved : job.kept;
  constexpr std::uint64_t most = UpdateJob::moved_part;
  const std::uint64_t rest = job.moved_count - part * most;
  const std::uint64_t end = part * most + (rest < most ? rest : most);
  for (std::uint64_t i = part * most + 4 * team.rank(); i < end; i += 4 * team.size()) {
    store(to + i, load<Four<std::uint32_t>>(from + i));
  }
}

}  // namespace muster::bodies
