// SPDX-License-Identifier: Apache-2.0
#include "runtime/base/stream_copy.h"

#include <gtest/gtest.h>

#include <vector>

#include "runtime/base/random.h"

namespace muster {
namespace {

TEST(StreamCopy, CopiesWhatMemcpyWouldAndNothingBeside) {
  Random random(5);
  std::vector<std::byte> from(400000);
  for (std::byte& value : from) {
    value = static_cast<std::byte>(random.below(256));
  }
  for (int round = 0; round < 200; ++round) {
    const std::size_t size = random.below(round % 2 == 0 ? 300 : 300000);
    const std::size_t source = random.below(130);
    const std::size_t target = random.below(130);
    std::vector<std::byte> to(size + 300, std::byte{0x5a});
    stream_copy(std::span(to).subspan(target, size), std::span(from).subspan(source, size));
    EXPECT_TRUE(std::equal(to.begin() + static_cast<std::ptrdiff_t>(target),
                           to.begin() + static_cast<std::ptrdiff_t>(target + size),
                           from.begin() + static_cast<std::ptrdiff_t>(source)));
    for (std::size_t i = 0; i < to.size(); ++i) {
      ASSERT_TRUE((i >= target && i < target + size) || to[i] == std::byte{0x5a}) << i;
    }
  }
}

}  // namespace
}  // namespace muster
