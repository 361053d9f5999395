// SPDX-License-Identifier: Apache-2.0
#include "runtime/model/random_fill.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

namespace muster {
namespace {

using Block = std::array<std::uint32_t, 4>;

double unit(std::uint32_t word) {
  return static_cast<double>(word >> 8) * 0x1.0p-24;
}  // [0, 1)

std::array<double, 2> normal_pair(std::uint32_t a, std::uint32_t b) {
  const double radius = std::sqrt(-2 * std::log(1 - unit(a)));
  const double angle = 2 * std::numbers::pi * unit(b);
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

/// Calls `make(block, values)` for every four elements.
template <class Make>
void by_blocks(float* values, std::size_t count, std::uint64_t key, Make make) {
  for (std::size_t i = 0; i < count; i += 4) {
    std::array<double, 4> four = make(philox(key, i / 4, 0));
    std::ranges::copy_n(
        four.begin(), static_cast<std::ptrdiff_t>(std::min<std::size_t>(4, count - i)), values + i);
  }
}

}  // namespace

std::uint64_t random_key(std::uint64_t seed, std::string_view name) {
  std::uint64_t key = mix(seed, name.size());
  for (const char letter : name) {
    key = mix(key, static_cast<unsigned char>(letter));
  }
  return key;
}

void fill(float* values, std::size_t count, Start start, std::uint64_t key) {
  if (start.kind == Start::Kind::constant) {
    std::fill_n(values, count, static_cast<float>(start.scale));
  } else if (start.kind == Start::Kind::uniform) {
    by_blocks(values, count, key, [&](const Block& block) {
      auto one = [&](std::uint32_t word) { return start.scale * (2 * unit(word) - 1); };
      return std::array{one(block[0]), one(block[1]), one(block[2]), one(block[3])};
    });
  } else {
    by_blocks(values, count, key, [&](const Block& block) {
      const auto first = normal_pair(block[0], block[1]);
      const auto second = normal_pair(block[2], block[3]);
      return std::array{start.scale * first[0], start.scale * first[1], start.scale * second[0],
                        start.scale * second[1]};
    });
  }
}

void fill_dropout_mask(float* mask, std::size_t count, double share, std::uint64_t key) {
  const double kept = 1 / (1 - share);
  by_blocks(mask, count, key, [&](const Block& block) {
    auto one = [&](std::uint32_t word) { return unit(word) < share ? 0.0 : kept; };
    return std::array{one(block[0]), one(block[1]), one(block[2]), one(block[3])};
  });
}

}  // namespace muster
