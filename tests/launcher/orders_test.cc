// SPDX-License-Identifier: Apache-2.0
#include "launcher/engine/orders.h"

#include <gtest/gtest.h>

#include "tests/launcher/programs.h"

namespace muster {
namespace {

TEST(Orders, ComeBackAsTheyWereWritten) {
  const test::TemporaryDirectory directory;
  EXPECT_FALSE(read_orders(directory.path()).has_value());
  write_orders(directory.path(), {"host-17-2", 10, 3, 1'795'000'000'123'456'789});
  const auto orders = read_orders(directory.path());
  ASSERT_TRUE(orders.has_value());
  EXPECT_EQ(orders->start, "host-17-2");
  EXPECT_EQ(orders->signal, 10);
  EXPECT_EQ(orders->hints, 3);
  EXPECT_EQ(orders->deadline_wall_ns, 1'795'000'000'123'456'789);
}

TEST(Orders, ATornFileIsNone) {
  const test::TemporaryDirectory directory;
  write_file_atomically(directory.path() / "orders", "host-17-2 10");
  EXPECT_FALSE(read_orders(directory.path()).has_value());
}

}  // namespace
}  // namespace muster
