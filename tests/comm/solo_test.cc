// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <array>

#include "runtime/comm/communicator.h"
#include "runtime/comm/node_group.h"

namespace muster {
namespace {

TEST(SoloCommunicator, IsTheIdentity) {
  auto comm = solo_communicator();
  std::array<float, 3> in{1, 2, 3};
  std::array<float, 3> out{};
  comm->all_reduce(buffer_of(in.data(), 3), ReduceOp::mean).wait();
  comm->all_gather(buffer_of(in.data(), 3), buffer_of(out.data(), 3)).wait();
  EXPECT_EQ(in, out);
  EXPECT_EQ(comm->split(0, 0)->size(), 1);
  EXPECT_EQ(comm->split(-1, 0), nullptr);
}

TEST(SoloNodeGroup, SharesZeroedMemoryWithItself) {
  auto node = solo_node_group();
  auto memory = node->share(10000);
  ASSERT_EQ(memory->bytes().size(), 10000U);
  EXPECT_EQ(memory->bytes()[9999], std::byte{0});
  node->barrier();
}

}  // namespace
}  // namespace muster
