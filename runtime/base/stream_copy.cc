// SPDX-License-Identifier: Apache-2.0
#include "runtime/base/stream_copy.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace muster {
namespace {

constexpr std::size_t line = 64;
constexpr std::size_t worth_streaming = 64 << 10;

#if defined(__x86_64__)
__attribute__((target("avx"))) void stream_lines_avx(std::byte* to, const std::byte* from,
                                                     std::size_t lines) {
  for (std::size_t i = 0; i < lines; ++i, to += line, from += line) {
    const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + 32));
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to), low);
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to + 32), high);
  }
  _mm_sfence();
}

bool stream_lines(std::byte* to, const std::byte* from, std::size_t lines) {
  static const bool can = __builtin_cpu_supports("avx") != 0;
  if (can) {
    stream_lines_avx(to, from, lines);
  }
  return can;
}
#else
bool stream_lines(std::byte*, const std::byte*, std::size_t) {
  return false;
}
#endif

}  // namespace

void stream_copy(std::span<std::byte> to, std::span<const std::byte> from) {
  const auto address = reinterpret_cast<std::uintptr_t>(to.data());
  const std::size_t head = std::min((line - address % line) % line, from.size());
  const std::size_t lines = (from.size() - head) / line;
  if (from.size() < worth_streaming || !stream_lines(to.data() + head, from.data() + head, lines)) {
    std::memcpy(to.data(), from.data(), from.size());
    return;
  }
  const std::size_t tail = head + lines * line;
  std::memcpy(to.data(), from.data(), head);
  std::memcpy(to.data() + tail, from.data() + tail, from.size() - tail);
}

}  // namespace muster
