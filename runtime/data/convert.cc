// SPDX-License-Identifier: Apache-2.0
#include "runtime/data/convert.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "runtime/base/error.h"
#include "runtime/base/simd.h"

namespace muster {
namespace {

float from_half(std::uint16_t bits) {
  const std::uint32_t sign = std::uint32_t{bits} >> 15 << 31;
  const std::uint32_t exponent = bits >> 10 & 0x1fU;
  const std::uint32_t mantissa = bits & 0x3ffU;
  if (exponent == 0) {  // zero and the denormals: mantissa * 2^-24
    const float magnitude = static_cast<float>(mantissa) * 0x1.0p-24F;
    return sign != 0 ? -magnitude : magnitude;
  }
  const std::uint32_t wide = exponent == 0x1f ? 0xffU : exponent + 112;
  return std::bit_cast<float>(sign | wide << 23 | mantissa << 13);
}

float from_brain(std::uint16_t bits) {
  return std::bit_cast<float>(std::uint32_t{bits} << 16);
}

/// Calls `visit` with a function that reads the i-th value as its C++ type; rows of a file may lie
/// at odd addresses.
template <class Visit>
auto with_values(const std::byte* from, h5::Scalar scalar, Visit visit) {
  auto reader = [from]<class T>(T) {
    return [from](std::size_t i) {
      T value;
      std::memcpy(&value, from + i * sizeof(T), sizeof(T));
      return value;
    };
  };
  using enum h5::Scalar;
  switch (scalar) {
    case float16:
      return visit([bits = reader(std::uint16_t{})](std::size_t i) { return from_half(bits(i)); });
    case bfloat16:
      return visit([bits = reader(std::uint16_t{})](std::size_t i) { return from_brain(bits(i)); });
    case float32:
      return visit(reader(float{}));
    case float64:
      return visit(reader(double{}));
    case int8:
      return visit(reader(std::int8_t{}));
    case int16:
      return visit(reader(std::int16_t{}));
    case int32:
      return visit(reader(std::int32_t{}));
    case int64:
      return visit(reader(std::int64_t{}));
    case uint8:
      return visit(reader(std::uint8_t{}));
    case uint16:
      return visit(reader(std::uint16_t{}));
    case uint32:
      return visit(reader(std::uint32_t{}));
    case uint64:
      return visit(reader(std::uint64_t{}));
  }
  throw Error(Fault::bug, "an unknown scalar");
}

// The loop of to_float() over the values of a channel. Whether one is not finite is found in
// integers: a sum of floats would wait for itself.
template <class Value>
[[gnu::always_inline]] inline std::uint32_t scaled(Value value, std::size_t count, float scale,
                                                   float shift, float* into) {
  std::uint32_t not_finite = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const auto x = static_cast<float>(value(i));
    not_finite |= (std::bit_cast<std::uint32_t>(x) & 0x7fffffffU) >= 0x7f800000U ? 1U : 0U;
    into[i] = x * scale + shift;
  }
  return not_finite;
}

// The two types that large sets have, in vector registers.
MUSTER_SIMD std::uint32_t scaled_floats(const float* __restrict from, std::size_t count,
                                        float scale, float shift, float* __restrict into) {
  return scaled([from](std::size_t i) { return from[i]; }, count, scale, shift, into);
}
MUSTER_SIMD std::uint32_t scaled_bytes(const std::uint8_t* __restrict from, std::size_t count,
                                       float scale, float shift, float* __restrict into) {
  return scaled([from](std::size_t i) { return from[i]; }, count, scale, shift, into);
}

std::uint32_t scaled_channel(const std::byte* from, h5::Scalar scalar, std::size_t count,
                             float scale, float shift, float* into) {
  const auto address = reinterpret_cast<std::uintptr_t>(from);
  if (scalar == h5::Scalar::float32 && address % alignof(float) == 0) {
    return scaled_floats(reinterpret_cast<const float*>(from), count, scale, shift, into);
  }
  if (scalar == h5::Scalar::uint8) {
    return scaled_bytes(reinterpret_cast<const std::uint8_t*>(from), count, scale, shift, into);
  }
  return with_values(from, scalar,
                     [&](auto value) { return scaled(value, count, scale, shift, into); });
}

}  // namespace

bool to_float(const std::byte* from, h5::Scalar scalar, std::size_t count, const Normalisation& by,
              float* into) {
  const std::size_t channels = by.scale.size();
  require(channels > 0 && count % channels == 0 && by.shift.size() == channels,
          "a normalisation of other channels");
  const std::size_t width = count / channels;
  std::uint32_t not_finite = 0;
  for (std::size_t channel = 0; channel < channels; ++channel) {
    const std::size_t first = channel * width;
    not_finite |= scaled_channel(from + first * h5::size_of(scalar), scalar, width,
                                 by.scale[channel], by.shift[channel], into + first);
  }
  return not_finite == 0;
}

bool to_int64(const std::byte* from, h5::Scalar scalar, std::size_t count, std::int64_t* into) {
  return with_values(from, scalar, [&](auto value) {
    bool is_whole = true;
    for (std::size_t i = 0; i < count; ++i) {
      const auto x = value(i);
      if constexpr (std::is_floating_point_v<decltype(x)> ||
                    std::is_same_v<std::decay_t<decltype(x)>, float>) {
        const bool fits = std::abs(static_cast<double>(x)) < 9e15;  // false for NaN
        into[i] = fits ? static_cast<std::int64_t>(x) : -1;
        is_whole = is_whole && fits && static_cast<double>(into[i]) == static_cast<double>(x);
      } else {
        into[i] = static_cast<std::int64_t>(x);
      }
    }
    return is_whole;
  });
}

}  // namespace muster
