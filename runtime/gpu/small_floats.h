/// Bf16 and F16: 16-bit floats as bits, converted alike on host and GPU. Rounding is to nearest,
/// ties to even; what is too large for an F16 becomes infinite; NaN stays NaN.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>

#include "runtime/base/anywhere.h"

namespace muster {

struct Bf16 {
  std::uint16_t bits;
};
struct F16 {
  std::uint16_t bits;
};

MUSTER_ANYWHERE std::uint32_t bits_of(float value) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

MUSTER_ANYWHERE float float_of(std::uint32_t bits) {
  float value = 0;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

MUSTER_ANYWHERE float to_float(float value) {
  return value;
}

MUSTER_ANYWHERE float to_float(Bf16 value) {
  return float_of(static_cast<std::uint32_t>(value.bits) << 16);
}

MUSTER_ANYWHERE float to_float(F16 value) {
  float widened = 0;
  if (gpu_widens_f16(value.bits, widened)) {
    return widened;
  }
  const std::uint32_t sign = static_cast<std::uint32_t>(value.bits & 0x8000U) << 16;
  const std::uint32_t exponent = (value.bits >> 10) & 0x1fU;
  const std::uint32_t mantissa = value.bits & 0x3ffU;
  if (exponent == 0x1f) {
    return float_of(sign | 0x7f800000U | (mantissa << 13));
  }
  if (exponent == 0) {  // zero and subnormals: mantissa * 2^-24
    const float small = static_cast<float>(mantissa) * 5.9604644775390625e-8F;
    return sign == 0 ? small : -small;
  }
  return float_of(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

MUSTER_ANYWHERE void from_float(float value, float& to) {
  to = value;
}

MUSTER_ANYWHERE void from_float(float value, Bf16& to) {
  if (gpu_rounds_bf16(value, to.bits)) {
    return;
  }
  const std::uint32_t bits = bits_of(value);
  const bool is_nan = (bits & 0x7fffffffU) > 0x7f800000U;
  to.bits = static_cast<std::uint16_t>(is_nan ? (bits >> 16) | 0x40U
                                              : (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}

MUSTER_ANYWHERE void from_float(float value, F16& to) {
  if (gpu_rounds_f16(value, to.bits)) {
    return;
  }
  const std::uint32_t bits = bits_of(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000U;
  const std::uint32_t size = bits & 0x7fffffffU;
  std::uint32_t half = 0;
  if (size > 0x7f800000U) {
    half = 0x7e00U;
  } else if (size >= 0x477ff000U) {  // 65520 and more round to infinity
    half = 0x7c00U;
  } else if (size >= 0x38800000U) {
    half = (size - 0x38000000U + 0xfffU + ((size >> 13) & 1U)) >> 13;
  } else if (size > 0x33000000U) {  // above 2^-25: a subnormal
    const std::uint32_t shift = 126U - (size >> 23);
    const std::uint32_t mantissa = (size & 0x7fffffU) | 0x800000U;
    const std::uint32_t half_way = (1U << (shift - 1)) - 1U;
    half = (mantissa + half_way + ((mantissa >> shift) & 1U)) >> shift;
  }
  to.bits = static_cast<std::uint16_t>(sign | half);
}

}  // namespace muster
