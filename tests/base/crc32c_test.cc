// SPDX-License-Identifier: Apache-2.0
#include "runtime/base/crc32c.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "runtime/base/file_system.h"
#include "runtime/base/random.h"

namespace muster {
namespace {

/// The definition, a bit at a time.
std::uint32_t by_definition(const std::vector<std::byte>& bytes) {
  std::uint32_t crc = ~0U;
  for (const auto byte : bytes) {
    crc ^= std::to_integer<std::uint32_t>(byte);
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc & 1) != 0 ? (crc >> 1) ^ 0x82F63B78U : crc >> 1;
    }
  }
  return ~crc;
}

std::vector<std::byte> noise(std::size_t size) {
  Random random(7, size);
  std::vector<std::byte> bytes(size);
  for (auto& byte : bytes) {
    byte = static_cast<std::byte>(random.below(256));
  }
  return bytes;
}

TEST(Crc32c, GivesThePublishedCheckValue) {
  EXPECT_EQ(crc32c(0, as_bytes("123456789")), 0xE3069283U);
}

TEST(Crc32c, FollowsTheDefinitionAtEveryLength) {
  for (const std::size_t size : {0, 1, 7, 8, 9, 63, 4095, 12287, 12288, 12289, 40000}) {
    const auto bytes = noise(size);
    EXPECT_EQ(crc32c(0, bytes), by_definition(bytes)) << size;
  }
}

TEST(Crc32c, ContinuesAndCombines) {
  const auto bytes = noise(30000);
  const auto whole = crc32c(0, bytes);
  for (const std::size_t cut : {0, 1, 4096, 12345, 30000}) {
    const auto first = crc32c(0, bytes.data(), cut);
    EXPECT_EQ(crc32c(first, bytes.data() + cut, bytes.size() - cut), whole) << cut;
    const auto second = crc32c(0, bytes.data() + cut, bytes.size() - cut);
    EXPECT_EQ(crc32c_combine(first, second, bytes.size() - cut), whole) << cut;
  }
}

}  // namespace
}  // namespace muster
