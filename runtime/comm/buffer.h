/// Buffer: memory that somebody else owns, with what lies in it and where. What collectives work
/// on. A Buffer never frees and never outlives its memory; between calling an operation and waiting
/// for it the memory is the operation's.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace muster {

enum class DType : std::uint8_t { float32, float64, float16, bfloat16, int32, int64, uint8 };
enum class ReduceOp : std::uint8_t { sum, mean, max, min };

/// Where memory is: the host, or a GPU of this process.
struct Device {
  enum class Kind : std::uint8_t { cpu, cuda };
  Kind kind = Kind::cpu;
  int index = 0;
  bool operator==(const Device&) const = default;
};

constexpr std::size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::float64:
    case DType::int64:
      return 8;
    case DType::float32:
    case DType::int32:
      return 4;
    case DType::float16:
    case DType::bfloat16:
      return 2;
    case DType::uint8:
      return 1;
  }
  return 0;
}

constexpr std::string_view name_of(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return "float32";
    case DType::float64:
      return "float64";
    case DType::float16:
      return "float16";
    case DType::bfloat16:
      return "bfloat16";
    case DType::int32:
      return "int32";
    case DType::int64:
      return "int64";
    case DType::uint8:
      return "uint8";
  }
  return "?";
}

constexpr std::string_view name_of(ReduceOp op) {
  switch (op) {
    case ReduceOp::sum:
      return "sum";
    case ReduceOp::mean:
      return "mean";
    case ReduceOp::max:
      return "max";
    case ReduceOp::min:
      return "min";
  }
  return "?";
}

struct Buffer {
  void* data = nullptr;
  std::size_t count = 0;
  DType dtype = DType::float32;
  Device device{};
  std::size_t bytes() const { return count * size_of(dtype); }
};

/// The DType of a C++ type: dtype_of<float>.
template <class T>
inline constexpr DType dtype_of = DType::uint8;
template <>
inline constexpr DType dtype_of<float> = DType::float32;
template <>
inline constexpr DType dtype_of<double> = DType::float64;
template <>
inline constexpr DType dtype_of<std::int32_t> = DType::int32;
template <>
inline constexpr DType dtype_of<std::int64_t> = DType::int64;

template <class T>
Buffer buffer_of(T* data, std::size_t count) {
  return Buffer{.data = data, .count = count, .dtype = dtype_of<T>};
}

}  // namespace muster
