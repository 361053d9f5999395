/// The loops of reduce(), to be compiled once for each instruction set: everything here is inlined
/// into functions that name theirs. Internal to collectives/reduce.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "collectives/reduce/half.h"
#include "collectives/reduce/kernels.h"

namespace muster::kernels {

template <class T>
struct AccumulatorOf {
  using type = T;
};
template <>
struct AccumulatorOf<Float16> {
  using type = float;
};
template <>
struct AccumulatorOf<BFloat16> {
  using type = float;
};

template <class T>
[[gnu::always_inline]] inline T load(T value) {
  return value;
}
[[gnu::always_inline]] inline float load(Float16 value) {
  return to_float(value);
}
[[gnu::always_inline]] inline float load(BFloat16 value) {
  return to_float(value);
}

template <class Out, class Acc>
[[gnu::always_inline]] inline Out store(Acc value) {
  if constexpr (std::is_same_v<Out, Float16>) {
    return to_float16(value);
  } else if constexpr (std::is_same_v<Out, BFloat16>) {
    return to_bfloat16(value);
  } else {
    return value;
  }
}

struct Sum {
  template <class T>
  [[gnu::always_inline]] static T combine(T a, T b) {
    if constexpr (std::is_integral_v<T>) {  // wraps; signed overflow would be undefined
      using Unsigned = std::make_unsigned_t<T>;
      return static_cast<T>(static_cast<Unsigned>(a) + static_cast<Unsigned>(b));
    } else {
      return a + b;
    }
  }
};
// A NaN compares false with all: each of these keeps it, whichever side it is on.
struct Max {
  template <class T>
  [[gnu::always_inline]] static T combine(T a, T b) {
    return (a >= b) | (a != a) ? a : b;
  }
};
struct Min {
  template <class T>
  [[gnu::always_inline]] static T combine(T a, T b) {
    return (a <= b) | (a != a) ? a : b;
  }
};

/// Dividing by a power of two is multiplying by its inverse, to the bit, and cheaper.
template <class Acc>
[[gnu::always_inline]] inline void divide(Acc* values, std::size_t count, int divisor) {
  const auto by = static_cast<Acc>(divisor);
  if constexpr (std::is_floating_point_v<Acc>) {
    if ((divisor & (divisor - 1)) == 0) {
      const Acc inverse = Acc{1} / by;
      for (std::size_t i = 0; i < count; ++i) {
        values[i] *= inverse;
      }
      return;
    }
  }
  for (std::size_t i = 0; i < count; ++i) {
    values[i] = static_cast<Acc>(values[i] / by);
  }
}

/// Two ranks, in place: no intermediate, so that only memory sets the pace. Pointers are equal or
/// apart, hence ivdep.
template <class T, class Op>
[[gnu::always_inline]] inline void reduce_pair(const T* a, const T* b, T* to_a, T* to_b,
                                               std::size_t count, T scale) {
#pragma GCC ivdep
  for (std::size_t i = 0; i < count; ++i) {
    T value = Op::combine(a[i], b[i]);
    if constexpr (std::is_floating_point_v<T>) {
      value *= scale;
    }
    to_a[i] = value;
    to_b[i] = value;
  }
}

template <class In, class Op>
[[gnu::always_inline]] inline bool try_pair(const Job& job) {
  using T = In;
  if constexpr (!std::is_arithmetic_v<T>) {
    return false;
  } else {
    const bool exact = job.divisor == 1 || (std::is_floating_point_v<T> && job.divisor == 2);
    if (job.sources.size() != 2 || job.destinations.size() != 2 || !exact) {
      return false;
    }
    reduce_pair<T, Op>(static_cast<const T*>(job.sources[0]), static_cast<const T*>(job.sources[1]),
                       static_cast<T*>(job.destinations[0]), static_cast<T*>(job.destinations[1]),
                       job.count, job.divisor == 2 ? static_cast<T>(0.5) : T{1});
    return true;
  }
}

template <class In, class Out, class Op>
[[gnu::always_inline]] inline void reduce_body(const Job& job) {
  using Acc = typename AccumulatorOf<In>::type;
  if constexpr (std::is_same_v<In, Out>) {
    if (try_pair<In, Op>(job)) {
      return;
    }
  }
  constexpr std::size_t block = 2048 / sizeof(Acc);  // stays in the first cache
  alignas(64) Acc sum[block];
  for (std::size_t start = 0; start < job.count; start += block) {
    const std::size_t count = std::min(block, job.count - start);
    const auto* first = static_cast<const In*>(job.sources[0]) + start;
    for (std::size_t i = 0; i < count; ++i) {
      sum[i] = load(first[i]);
    }
    for (std::size_t source = 1; source < job.sources.size(); ++source) {
      const auto* next = static_cast<const In*>(job.sources[source]) + start;
      for (std::size_t i = 0; i < count; ++i) {
        sum[i] = Op::combine(sum[i], load(next[i]));
      }
    }
    if (job.divisor > 1) {
      divide(sum, count, job.divisor);
    }
    for (void* destination : job.destinations) {
      auto* to = static_cast<Out*>(destination) + start;
      for (std::size_t i = 0; i < count; ++i) {
        to[i] = store<Out>(sum[i]);
      }
    }
  }
}

/// A class template whose `run` carries a target attribute, wrapping reduce_body: fills a table
/// with one function a combination.
template <template <class, class, class> class Run>
constexpr Table table_of() {
  Table table{};
  const auto add = [&table]<class In, class Out>(DType in, DType out, In /*type*/, Out /*type*/) {
    auto& row = table[static_cast<std::size_t>(in)][static_cast<std::size_t>(out)];
    row[static_cast<std::size_t>(ReduceOp::sum)] = &Run<In, Out, Sum>::run;
    row[static_cast<std::size_t>(ReduceOp::mean)] = &Run<In, Out, Sum>::run;
    row[static_cast<std::size_t>(ReduceOp::max)] = &Run<In, Out, Max>::run;
    row[static_cast<std::size_t>(ReduceOp::min)] = &Run<In, Out, Min>::run;
  };
  add(DType::float32, DType::float32, float{}, float{});
  add(DType::float64, DType::float64, double{}, double{});
  add(DType::int32, DType::int32, std::int32_t{}, std::int32_t{});
  add(DType::int64, DType::int64, std::int64_t{}, std::int64_t{});
  add(DType::uint8, DType::uint8, std::uint8_t{}, std::uint8_t{});
  add(DType::float16, DType::float16, Float16{}, Float16{});
  add(DType::float16, DType::float32, Float16{}, float{});
  add(DType::float32, DType::float16, float{}, Float16{});
  add(DType::bfloat16, DType::bfloat16, BFloat16{}, BFloat16{});
  add(DType::bfloat16, DType::float32, BFloat16{}, float{});
  add(DType::float32, DType::bfloat16, float{}, BFloat16{});
  return table;
}

}  // namespace muster::kernels
