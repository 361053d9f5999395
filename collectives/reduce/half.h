/// 16-bit floats to float32 and back, rounding to nearest even, without branches, so that loops
/// over them become vector code. float32 -> float16 follows the usual three ranges: overflow and
/// NaN, subnormal (a float addition rounds), normal (integer rounding).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>

namespace muster {

struct Float16 {
  std::uint16_t bits;
};
struct BFloat16 {
  std::uint16_t bits;
};

[[gnu::always_inline]] inline float to_float(BFloat16 value) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value.bits) << 16U);
}

[[gnu::always_inline]] inline BFloat16 to_bfloat16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = (bits + 0x7fffU + ((bits >> 16U) & 1U)) >> 16U;
  const std::uint32_t quiet = (bits >> 16U) | 0x40U;
  const bool is_nan = (bits & 0x7fffffffU) > 0x7f800000U;
  return {static_cast<std::uint16_t>(is_nan ? quiet : rounded)};
}

[[gnu::always_inline]] inline float to_float(Float16 value) {
  const std::uint32_t magnitude = (value.bits & 0x7fffU) << 13U;
  const std::uint32_t exponent = magnitude & (0x7c00U << 13U);
  const std::uint32_t normal = magnitude + (112U << 23U);
  const std::uint32_t infinite = normal + (112U << 23U);
  const auto subnormal = std::bit_cast<std::uint32_t>(std::bit_cast<float>(normal + (1U << 23U)) -
                                                      std::bit_cast<float>(113U << 23U));
  const std::uint32_t bits = exponent == (0x7c00U << 13U) ? infinite
                             : exponent == 0              ? subnormal
                                                          : normal;
  return std::bit_cast<float>(bits | ((value.bits & 0x8000U) << 16U));
}

[[gnu::always_inline]] inline Float16 to_float16(float value) {
  const auto all = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t bits = all & 0x7fffffffU;
  const std::uint32_t special = bits > 0x7f800000U ? 0x7e00U : 0x7c00U;
  constexpr std::uint32_t magic = 126U << 23U;
  const auto subnormal =
      std::bit_cast<std::uint32_t>(std::bit_cast<float>(bits) + std::bit_cast<float>(magic)) -
      magic;
  const std::uint32_t normal = (bits - (112U << 23U) + 0xfffU + ((bits >> 13U) & 1U)) >> 13U;
  const std::uint32_t half = bits >= (143U << 23U)  ? special
                             : bits < (113U << 23U) ? subnormal
                                                    : normal;
  return {static_cast<std::uint16_t>(half | ((all >> 16U) & 0x8000U))};
}

}  // namespace muster
