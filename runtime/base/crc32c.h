/// CRC32C (Castagnoli), the checksum of checkpoints and journals. Hardware instructions where the
/// CPU has them. crc32c(crc32c(0, a), b) is the sum of a followed by b.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace muster {

std::uint32_t crc32c(std::uint32_t seed, std::span<const std::byte> bytes);
inline std::uint32_t crc32c(std::uint32_t seed, const void* data, std::size_t size) {
  return crc32c(seed, {static_cast<const std::byte*>(data), size});
}
/// The sum of A followed by B from their own sums: what lets blocks be summed by several threads.
std::uint32_t crc32c_combine(std::uint32_t first, std::uint32_t second, std::uint64_t second_size);

}  // namespace muster
