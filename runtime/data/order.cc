// SPDX-License-Identifier: Apache-2.0
#include "runtime/data/order.h"

#include <algorithm>
#include <bit>

#include "runtime/base/error.h"
#include "runtime/base/random.h"

namespace muster {
namespace {

constexpr int feistel_rounds = 6;

std::uint64_t round_function(std::uint64_t key, std::uint64_t half, int round) {
  const auto block = philox(key, half, static_cast<std::uint64_t>(round));
  return (std::uint64_t{block[1]} << 32) | block[0];
}

std::uint64_t low_bits(int count) {
  return (std::uint64_t{1} << count) - 1;
}

}  // namespace

KeyedPermutation::KeyedPermutation(std::uint64_t size, std::uint64_t key) : size_(size), key_(key) {
  const int bits = std::max(2, static_cast<int>(std::bit_width(size > 0 ? size - 1 : 0)));
  left_bits_ = bits / 2;
  right_bits_ = bits - left_bits_;
}

std::uint64_t KeyedPermutation::encrypt(std::uint64_t value) const {
  std::uint64_t left = value >> right_bits_;
  std::uint64_t right = value & low_bits(right_bits_);
  for (int round = 0; round < feistel_rounds;
       round += 2) {  // halves of unequal width stay in place
    left ^= round_function(key_, right, round) & low_bits(left_bits_);
    right ^= round_function(key_, left, round + 1) & low_bits(right_bits_);
  }
  return (left << right_bits_) | right;
}

std::uint64_t KeyedPermutation::operator()(std::uint64_t position) const {
  require(position < size_, "a position outside the permutation");
  do {  // below twice the size, so twice on average at most
    position = encrypt(position);
  } while (position >= size_);
  return position;
}

SampleOrder::SampleOrder(std::uint64_t rows, std::uint64_t seed, std::uint64_t epoch, Mixing mixing)
    : rows_(rows),
      key_(mix(seed, epoch, 0x6f72646572)),  // "order"
      mixing_(mixing),
      all_(mixing.block_rows == 0 ? rows : rows / mixing.block_rows, key_) {}

std::uint64_t SampleOrder::operator()(std::uint64_t position) const {
  require(position < rows_, "a position outside the epoch");
  if (!mixing_.shuffle) {
    return position;
  }
  return mixing_.block_rows == 0 ? all_(position) : row_on_line(mixed_in_window(position));
}

// Blocks in keyed order lie on a line, a short last block at its end; windows cut the line and are
// mixed each for itself.
std::uint64_t SampleOrder::mixed_in_window(std::uint64_t position) const {
  const std::uint64_t length =
      mixing_.block_rows * std::max<std::uint64_t>(mixing_.window_blocks, 1);
  const std::uint64_t window = position / length;
  const std::uint64_t first = window * length;
  const KeyedPermutation inside(std::min(length, rows_ - first),
                                mix(key_, window, 0x77696e646f77));  // "window"
  return first + inside(position - first);
}

std::uint64_t SampleOrder::row_on_line(std::uint64_t position) const {
  const std::uint64_t block = position / mixing_.block_rows;
  if (block >= all_.size()) {
    return position;  // the short last block
  }
  return all_(block) * mixing_.block_rows + position % mixing_.block_rows;
}

SampleRange part_of(SampleRange whole, std::uint64_t part, std::uint64_t parts) {
  require(part < parts, "a part outside the whole");
  const std::uint64_t share = whole.count / parts;
  const std::uint64_t larger = whole.count % parts;
  return {.first = whole.first + part * share + std::min(part, larger),
          .count = share + (part < larger ? 1 : 0)};
}

std::uint64_t BatchPlan::steps() const {
  require(batch > 0, "a batch of no samples");
  return drop_last ? rows / batch : (rows + batch - 1) / batch;
}

SampleRange BatchPlan::of_step(std::uint64_t step) const {
  require(step < steps(), "a step outside the epoch");
  return {.first = step * batch, .count = std::min(batch, rows - step * batch)};
}

SampleRange shards_of(std::uint64_t rank, std::uint64_t ranks, std::uint64_t shards) {
  return part_of({.first = 0, .count = shards}, rank, ranks);
}

}  // namespace muster
