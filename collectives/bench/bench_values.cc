// SPDX-License-Identifier: Apache-2.0
#include "collectives/bench/bench_values.h"

#include <array>
#include <cstring>

#include "collectives/reduce/half.h"
#include "runtime/base/error.h"

namespace muster {
namespace {

constexpr std::size_t kinds = 16;  // of places
using Values = std::array<int, kinds>;

std::size_t kind_of(std::size_t place) {
  return (place + 1) * 0x9e3779b97f4a7c15ULL >> 60U;
}

/// 0 to 3, or 0 and 1 where many ranks would add up to more than 8 bits hold.
Values values_of(int rank, int ranks) {
  const std::uint64_t mask = ranks > 64 ? 1 : 3;
  Values values{};
  for (std::size_t kind = 0; kind < kinds; ++kind) {
    const std::uint64_t key = static_cast<std::uint64_t>(rank) * kinds + kind + 1;
    values[kind] = static_cast<int>((key * 0xd1342543de82ef95ULL >> 40U) & mask);
  }
  return values;
}

Values sums_of(int ranks) {
  Values sums{};
  for (int rank = 0; rank < ranks; ++rank) {
    const auto values = values_of(rank, ranks);
    for (std::size_t kind = 0; kind < kinds; ++kind) {
      sums[kind] += values[kind];
    }
  }
  return sums;
}

template <class Element>
void fill(std::vector<std::byte>& to, const std::array<Element, kinds>& elements) {
  for (std::size_t i = 0; i < to.size() / sizeof(Element); ++i) {
    std::memcpy(to.data() + i * sizeof(Element), &elements[kind_of(i)], sizeof(Element));
  }
}

template <class Element>
std::uint64_t differences(std::span<const std::byte> from,
                          const std::array<Element, kinds>& elements) {
  std::uint64_t count = 0;
  for (std::size_t i = 0; i < from.size() / sizeof(Element); ++i) {
    const bool differs =
        std::memcmp(from.data() + i * sizeof(Element), &elements[kind_of(i)], sizeof(Element)) != 0;
    count += differs ? 1 : 0;
  }
  return count;
}

/// Calls `body` with the values as elements of the type.
template <class Body>
auto as_elements(DType dtype, const Values& values, Body&& body) {
  const auto convert = [&]<class Element>(Element /*type*/, auto&& conversion) {
    std::array<Element, kinds> elements{};
    for (std::size_t kind = 0; kind < kinds; ++kind) {
      elements[kind] = conversion(values[kind]);
    }
    return body(elements);
  };
  const auto cast = [&]<class Element>(Element type) {
    return convert(type, [](int value) { return static_cast<Element>(value); });
  };
  switch (dtype) {
    case DType::float32:
      return cast(float{});
    case DType::float64:
      return cast(double{});
    case DType::float16:
      return convert(Float16{}, [](int value) { return to_float16(static_cast<float>(value)); });
    case DType::bfloat16:
      return convert(BFloat16{}, [](int value) { return to_bfloat16(static_cast<float>(value)); });
    case DType::int32:
      return cast(std::int32_t{});
    case DType::int64:
      return cast(std::int64_t{});
    case DType::uint8:
      return cast(std::uint8_t{});
  }
  throw Error(Fault::bug, "a type of element without values");
}

}  // namespace

std::vector<std::byte> BenchValues::of_rank(int rank, std::size_t count) const {
  require(ranks_ <= most_ranks, "more ranks than exact sums are known for");
  std::vector<std::byte> bytes(count * size_of(dtype_));
  as_elements(dtype_, values_of(rank, ranks_),
              [&](const auto& elements) { fill(bytes, elements); });
  return bytes;
}

std::uint64_t BenchValues::errors_in(std::span<const std::byte> sum) const {
  return as_elements(dtype_, sums_of(ranks_),
                     [&](const auto& elements) { return differences(sum, elements); });
}

}  // namespace muster
