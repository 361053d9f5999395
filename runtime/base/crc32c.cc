// SPDX-License-Identifier: Apache-2.0
#include "runtime/base/crc32c.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace muster {
namespace {

constexpr std::uint32_t polynomial = 0x82F63B78;  // reflected

using Matrix = std::array<std::uint32_t, 32>;  // a linear map on 32 bits, one column a bit

std::uint32_t times(const Matrix& matrix, std::uint32_t vector) {
  std::uint32_t sum = 0;
  for (std::size_t bit = 0; vector != 0; vector >>= 1, ++bit) {
    if ((vector & 1) != 0) {
      sum ^= matrix[bit];
    }
  }
  return sum;
}

Matrix squared(const Matrix& matrix) {
  Matrix result{};
  for (std::size_t bit = 0; bit < 32; ++bit) {
    result[bit] = times(matrix, matrix[bit]);
  }
  return result;
}

/// The map that appends `size` zero bytes to a checksum.
Matrix zeros_map(std::uint64_t size) {
  Matrix power{};  // one zero bit
  power[0] = polynomial;
  for (std::size_t bit = 1; bit < 32; ++bit) {
    power[bit] = 1U << (bit - 1);
  }
  Matrix result{};
  for (std::size_t bit = 0; bit < 32; ++bit) {
    result[bit] = 1U << bit;
  }
  for (std::uint64_t bits = size * 8; bits != 0; bits >>= 1) {
    if ((bits & 1) != 0) {
      for (auto& column : result) {
        column = times(power, column);
      }
    }
    power = squared(power);
  }
  return result;
}

/// Four tables of 256: what zeros_map does, a byte of the checksum at a time.
struct ShiftTable {
  explicit ShiftTable(std::uint64_t size) {
    const Matrix map = zeros_map(size);
    for (std::uint32_t place = 0; place < 4; ++place) {
      for (std::uint32_t value = 0; value < 256; ++value) {
        table[place][value] = times(map, value << (8 * place));
      }
    }
  }
  std::uint32_t operator()(std::uint32_t crc) const {
    return table[0][crc & 255] ^ table[1][crc >> 8 & 255] ^ table[2][crc >> 16 & 255] ^
           table[3][crc >> 24];
  }
  std::array<std::array<std::uint32_t, 256>, 4> table{};
};

std::uint32_t by_table(std::uint32_t crc, const unsigned char* data, std::size_t size) {
  static const auto table = [] {
    std::array<std::uint32_t, 256> made{};
    for (std::uint32_t value = 0; value < 256; ++value) {
      std::uint32_t sum = value;
      for (int bit = 0; bit < 8; ++bit) {
        sum = (sum & 1) != 0 ? (sum >> 1) ^ polynomial : sum >> 1;
      }
      made[value] = sum;
    }
    return made;
  }();
  for (; size > 0; --size, ++data) {
    crc = table[(crc ^ *data) & 255] ^ (crc >> 8);
  }
  return crc;
}

#if defined(__x86_64__)
std::uint64_t word_at(const unsigned char* data) {
  std::uint64_t word = 0;
  std::memcpy(&word, data, sizeof word);
  return word;
}

/// Three streams at once: the instruction takes three cycles and starts every cycle.
__attribute__((target("sse4.2"))) std::uint32_t by_instruction(std::uint32_t crc,
                                                               const unsigned char* data,
                                                               std::size_t size) {
  constexpr std::size_t stride = 4096;
  static const ShiftTable one(stride);
  static const ShiftTable two(2 * stride);
  for (; size >= 3 * stride; data += 3 * stride, size -= 3 * stride) {
    std::uint64_t a = crc;
    std::uint64_t b = 0;
    std::uint64_t c = 0;
    for (std::size_t at = 0; at < stride; at += 8) {
      a = _mm_crc32_u64(a, word_at(data + at));
      b = _mm_crc32_u64(b, word_at(data + stride + at));
      c = _mm_crc32_u64(c, word_at(data + 2 * stride + at));
    }
    crc = two(static_cast<std::uint32_t>(a)) ^ one(static_cast<std::uint32_t>(b)) ^
          static_cast<std::uint32_t>(c);
  }
  std::uint64_t rest = crc;
  for (; size >= 8; data += 8, size -= 8) {
    rest = _mm_crc32_u64(rest, word_at(data));
  }
  crc = static_cast<std::uint32_t>(rest);
  for (; size > 0; --size, ++data) {
    crc = _mm_crc32_u8(crc, *data);
  }
  return crc;
}

bool has_instruction() {
  return __builtin_cpu_supports("sse4.2") != 0;
}
#else
std::uint32_t by_instruction(std::uint32_t crc, const unsigned char* data, std::size_t size) {
  return by_table(crc, data, size);
}
bool has_instruction() {
  return false;
}
#endif

}  // namespace

std::uint32_t crc32c(std::uint32_t seed, std::span<const std::byte> bytes) {
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  static const bool fast = has_instruction();
  const std::uint32_t start = ~seed;
  return ~(fast ? by_instruction(start, data, bytes.size()) : by_table(start, data, bytes.size()));
}

std::uint32_t crc32c_combine(std::uint32_t first, std::uint32_t second, std::uint64_t second_size) {
  return times(zeros_map(second_size), first) ^ second;
}

}  // namespace muster
