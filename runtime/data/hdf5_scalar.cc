// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "runtime/data/hdf5_library.h"

namespace muster::h5 {
namespace {

constexpr std::array<std::pair<Scalar, DType>, 7> known_dtypes{{{Scalar::float32, DType::float32},
                                                                {Scalar::float64, DType::float64},
                                                                {Scalar::float16, DType::float16},
                                                                {Scalar::bfloat16, DType::bfloat16},
                                                                {Scalar::int32, DType::int32},
                                                                {Scalar::int64, DType::int64},
                                                                {Scalar::uint8, DType::uint8}}};
Scalar integer_of(std::size_t size, bool is_signed) {
  switch (size) {
    case 1:
      return is_signed ? Scalar::int8 : Scalar::uint8;
    case 2:
      return is_signed ? Scalar::int16 : Scalar::uint16;
    case 4:
      return is_signed ? Scalar::int32 : Scalar::uint32;
    default:
      return is_signed ? Scalar::int64 : Scalar::uint64;
  }
}

Scalar float_of(hid_t type) {
  std::size_t sign = 0, exponent_at = 0, exponent = 0, mantissa_at = 0, mantissa = 0;
  H5Tget_fields(type, &sign, &exponent_at, &exponent, &mantissa_at, &mantissa);
  switch (H5Tget_size(type)) {
    case 2:
      return exponent == 8 ? Scalar::bfloat16 : Scalar::float16;
    case 4:
      return Scalar::float32;
    default:
      return Scalar::float64;
  }
}

}  // namespace

std::optional<Scalar> scalar_of_type(hid_t type) {
  const H5T_class_t kind = H5Tget_class(type);
  const std::size_t size = H5Tget_size(type);
  if (kind == H5T_ENUM && size == 1) {
    return Scalar::uint8;
  }
  if (kind == H5T_INTEGER && (size == 1 || size == 2 || size == 4 || size == 8)) {
    return integer_of(size, H5Tget_sign(type) != H5T_SGN_NONE);
  }
  if (kind == H5T_FLOAT && (size == 2 || size == 4 || size == 8)) {
    return float_of(type);
  }
  return std::nullopt;
}

std::size_t size_of(Scalar scalar) {
  constexpr std::array<std::uint8_t, 12> sizes{2, 2, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8};
  return sizes.at(static_cast<std::size_t>(scalar));
}

std::string_view name_of(Scalar scalar) {
  constexpr std::array<std::string_view, 12> names{"float16", "bfloat16", "float32", "float64",
                                                   "int8",    "int16",    "int32",   "int64",
                                                   "uint8",   "uint16",   "uint32",  "uint64"};
  return names.at(static_cast<std::size_t>(scalar));
}

Scalar scalar_of(DType dtype) {
  const auto* found = std::ranges::find(known_dtypes, dtype, &std::pair<Scalar, DType>::second);
  return found->first;
}

std::optional<DType> dtype_of(Scalar scalar) {
  const auto* found = std::ranges::find(known_dtypes, scalar, &std::pair<Scalar, DType>::first);
  return found == known_dtypes.end() ? std::nullopt : std::optional(found->second);
}

std::uint64_t elements_of(const Shape& shape) {
  std::uint64_t product = 1;
  for (const std::uint64_t length : shape) {
    product *= length;
  }
  return product;
}

std::string text_of(const Shape& shape) {
  return shape.empty() ? "scalar" : fmt::format("{}", fmt::join(shape, " x "));
}

}  // namespace muster::h5
