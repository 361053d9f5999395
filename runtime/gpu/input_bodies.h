/// Bodies of the kernels that bring a batch: the order of an epoch, and rows gathered in it, where
/// they are images also shifted and mirrored.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/gpu/jobs.h"
#include "runtime/gpu/kernel_words.h"
#include "runtime/gpu/small_floats.h"

namespace muster::bodies {

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

MUSTER_ANYWHERE std::uint64_t half_of(const OrderJob& job, std::uint64_t half, int round) {
  const auto words = philox_words(job.key, half, static_cast<std::uint64_t>(round));
  return (std::uint64_t{words.v[1]} << 32) | words.v[0];
}

/// Position `position` of the epoch: KeyedPermutation of runtime/data/order.h.
MUSTER_ANYWHERE void order(const OrderJob& job, std::uint64_t position) {
  int bits = 2;
  while (job.rows > (std::uint64_t{1} << bits)) {
    ++bits;
  }
  const int right_bits = bits - bits / 2;
  const std::uint64_t left_mask = (std::uint64_t{1} << (bits / 2)) - 1;
  const std::uint64_t right_mask = (std::uint64_t{1} << right_bits) - 1;
  std::uint64_t value = position;
  do {
    std::uint64_t left = value >> right_bits;
    std::uint64_t right = value & right_mask;
    for (int round = 0; job.shuffles && round < 6; round += 2) {
      left ^= half_of(job, right, round) & left_mask;
      right ^= half_of(job, left, round + 1) & right_mask;
    }
    value = (left << right_bits) | right;
  } while (value >= job.rows);
  job.to[position] = static_cast<std::uint32_t>(value);
}

/// Words [begin, end) of a row as they are, 16 bytes at a time where that goes.
template <class Team>
MUSTER_ANYWHERE void copy_words(const Team& team, const std::uint32_t* from, std::uint32_t* to,
                                std::uint64_t begin, std::uint64_t end) {
  using Words = Four<std::uint32_t>;
  const bool is_whole = is_aligned<Words>(from + begin) && is_aligned<Words>(to + begin);
  const std::uint64_t whole = is_whole ? begin + (end - begin) / 4 * 4 : begin;
  for (std::uint64_t i = begin + 4 * team.rank(); i < whole; i += 4 * team.size()) {
    store(to + i, load<Words>(from + i));
  }
  for (std::uint64_t i = whole + team.rank(); i < end; i += team.size()) {
    to[i] = from[i];
  }
}

/// One of `slices` parts of a row.
template <class Team>
MUSTER_ANYWHERE void gather(const Team& team, const GatherJob& job, std::uint64_t row,
                            std::uint64_t slice, std::uint64_t slices) {
  const std::uint64_t position =
      job.state->step % job.steps_per_epoch * job.batch + job.first_part + row;
  const std::uint64_t source = job.order == nullptr ? row : job.order[position];
  const std::uint64_t words = job.row_bytes / 4;
  const std::uint64_t fours = (words + 3) / 4;
  const std::uint64_t begin = fours * slice / slices * 4;
  const std::uint64_t after = fours * (slice + 1) / slices * 4;
  const std::uint64_t end = after < words ? after : words;
  const auto* from = static_cast<const std::uint32_t*>(job.rows) + source * words;
  auto* to = static_cast<std::uint32_t*>(job.to) + row * words;
  if (job.channels == 0) {
    copy_words(team, from, to, begin, end);
  } else {
    const Shift shift = shift_of(job, job.first_part + row);
    for (std::uint64_t i = begin + team.rank(); i < end; i += team.size()) {
      to[i] = bits_of(shifted(job, reinterpret_cast<const float*>(from), shift, i));
    }
  }
  if (slice == 0) {
    const std::uint64_t label_words = job.label_bytes / 4;
    copy_words(team, static_cast<const std::uint32_t*>(job.labels) + source * label_words,
               static_cast<std::uint32_t*>(job.labels_to) + row * label_words, 0, label_words);
  }
}

}  // namespace muster::bodies
