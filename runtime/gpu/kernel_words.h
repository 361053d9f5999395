/// What the bodies of our kernels share: several neighbours at a time, and random words.
///
/// A body is the arithmetic of a kernel, once for the GPU and its twin on the CPU. It is run by a
/// team: the threads of a block (*_kernels.cu), or one thread (host_kernels.cc). A team has rank(),
/// size(), sum(double), sum(float), max(float) and barrier(); all of it calls them together.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "runtime/base/anywhere.h"

namespace muster::bodies {

/// Neighbours that are read and written in one access.
template <class T, int count>
struct alignas(count * sizeof(T)) Several {
  T v[count];  // NOLINT(modernize-avoid-c-arrays): std::array's functions are not for the GPU
};
template <class T>
using Four = Several<T, 4>;
/// The widest access: 16 bytes.
template <class T>
inline constexpr int wide_count = 16 / sizeof(T);
template <class T>
using Wide = Several<T, wide_count<T>>;

/// Null is.
template <class Group>
MUSTER_ANYWHERE bool is_aligned(const void* place) {
  return reinterpret_cast<std::uintptr_t>(place) % alignof(Group) == 0;
}

template <class Group, class T>
MUSTER_ANYWHERE Group load(const T* from) {
  return *reinterpret_cast<const Group*>(from);
}

/// On a GPU by name where it is 16 bytes: nvcc takes a group apart that it has just put together,
/// and writes 4 bytes at a time.
template <class Group, class T>
MUSTER_ANYWHERE void store(T* to, const Group& group) {
  if constexpr (sizeof(Group) == 16) {
    if (gpu_stores_16_bytes(to, &group)) {
      return;
    }
  }
  *reinterpret_cast<Group*>(to) = group;
}

/// Sums of a column, over every `slices`-th of `parts` rows of planes * width floats.
template <int planes>
struct ColumnSums {
  float of[planes]{};  // NOLINT(modernize-avoid-c-arrays)
};
template <int planes>
MUSTER_ANYWHERE ColumnSums<planes> column_slice(const float* partial, std::uint64_t width,
                                                std::uint64_t parts, std::uint64_t column,
                                                std::uint64_t slice, std::uint64_t slices) {
  ColumnSums<planes> sums;
  for (std::uint64_t part = slice; part < parts; part += slices) {
    for (int plane = 0; plane < planes; ++plane) {
      sums.of[plane] +=
          partial[(part * planes + static_cast<std::uint64_t>(plane)) * width + column];
    }
  }
  return sums;
}

MUSTER_ANYWHERE std::uint64_t mixed(std::uint64_t z) {
  z += 0x9E3779B97F4A7C15ULL;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

/// mix() of runtime/base/random.h.
MUSTER_ANYWHERE std::uint64_t mix_words(std::uint64_t a, std::uint64_t b, std::uint64_t c) {
  return mixed(mixed(mixed(a) ^ b) ^ c);
}

/// philox() of runtime/base/random.h.
MUSTER_ANYWHERE Four<std::uint32_t> philox_words(std::uint64_t key, std::uint64_t counter,
                                                 std::uint64_t high = 0) {
  std::uint32_t c0 = static_cast<std::uint32_t>(counter);
  std::uint32_t c1 = static_cast<std::uint32_t>(counter >> 32);
  auto c2 = static_cast<std::uint32_t>(high);
  auto c3 = static_cast<std::uint32_t>(high >> 32);
  auto k0 = static_cast<std::uint32_t>(key);
  auto k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53} * c0;
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57} * c2;
    c0 = static_cast<std::uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<std::uint32_t>(p1);
    c2 = static_cast<std::uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<std::uint32_t>(p0);
    k0 += 0x9E3779B9U;
    k1 += 0xBB67AE85U;
  }
  return {{c0, c1, c2, c3}};
}

}  // namespace muster::bodies
