// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/gradient_pool.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>

#include <thread>

#include "runtime/comm/node_group.h"

namespace muster {
namespace {

class GradientPoolTest : public testing::Test {
 protected:
  void SetUp() override {
    GradientPool::install();
    memory = node->share(GradientPool::window_bytes(sizes));
    pool = std::make_unique<GradientPool>(memory, memory->bytes(), sizes);
  }
  std::unique_ptr<NodeGroup> node = solo_node_group();
  std::vector<std::size_t> sizes{4096, 4096, 100};
  std::shared_ptr<SharedMemory> memory;
  std::unique_ptr<GradientPool> pool;
};

TEST_F(GradientPoolTest, AutogradsFreshGradientsLieInTheWindow) {
  at::Tensor weight = at::randn({32, 32}).requires_grad_(true);
  at::Tensor input = at::ones({8, 32});
  const GradientPool::Entered entered(*pool);
  for (int step = 0; step < 5; ++step) {
    at::Tensor loss = at::addmm(at::ones({32}), input, weight.t()).sum();
    const GradientPool::Backward backward(*pool);
    loss.backward();
    EXPECT_TRUE(pool->offset_of(weight.grad().const_data_ptr()));
    EXPECT_FLOAT_EQ(weight.grad()[3][3].item<float>(), 8.0F);
    weight.mutable_grad().reset();
  }
}

TEST_F(GradientPoolTest, OnlyGradientSizesAndOnlyInBackward) {
  const GradientPool::Entered entered(*pool);
  EXPECT_FALSE(pool->offset_of(at::ones({1024}).const_data_ptr()));
  const GradientPool::Backward backward(*pool);
  EXPECT_TRUE(pool->offset_of(at::ones({1024}).const_data_ptr()));
  EXPECT_FALSE(pool->offset_of(at::ones({1023 * 2}).const_data_ptr()));
}

TEST_F(GradientPoolTest, AFullWindowFallsBackToTheHeap) {
  const GradientPool::Entered entered(*pool);
  const GradientPool::Backward backward(*pool);
  std::vector<at::Tensor> held;
  int inside = 0;
  for (int i = 0; i < 20; ++i) {
    held.push_back(at::ones({1024}));
    inside += pool->offset_of(held.back().const_data_ptr()) ? 1 : 0;
  }
  EXPECT_GE(inside, 4);  // one for each gradient of that size, and two more
  EXPECT_LT(inside, 20);
}

TEST_F(GradientPoolTest, TemporariesOfOneSizeLeaveTheOthersTheirRoom) {
  const GradientPool::Entered entered(*pool);
  const GradientPool::Backward backward(*pool);
  std::vector<at::Tensor> held;
  for (int i = 0; i < 20; ++i) {
    held.push_back(at::ones({25}));
  }
  for (int i = 0; i < 2; ++i) {
    held.push_back(at::ones({1024}));
    EXPECT_TRUE(pool->offset_of(held.back().const_data_ptr()));
  }
}

TEST_F(GradientPoolTest, BlocksMayOutliveThePoolAndBeFreedElsewhere) {
  at::Tensor kept;
  at::Tensor other;
  {
    const GradientPool::Entered entered(*pool);
    const GradientPool::Backward backward(*pool);
    kept = at::ones({1024});
    other = at::ones({5000});
  }
  pool.reset();
  memory.reset();
  EXPECT_FLOAT_EQ(kept.sum().item<float>(), 1024.0F);
  std::thread([moved = std::move(other)]() mutable { moved.reset(); }).join();
  kept.reset();
}

TEST_F(GradientPoolTest, ThreadsHaveTheirOwnPoolsAndSteadyStepsTakeNothingNew) {
  auto work = [this] {
    auto own_memory =
        std::shared_ptr<SharedMemory>(solo_node_group()->share(GradientPool::window_bytes(sizes)));
    GradientPool own(own_memory, own_memory->bytes(), sizes);
    const GradientPool::Entered entered(own);
    std::size_t after_first = 0;
    for (int i = 0; i < 50; ++i) {
      const at::Tensor a = at::ones({300, 7}).add(at::ones({300, 7}));
      EXPECT_FLOAT_EQ(a.sum().item<float>(), 4200.0F);
      after_first = i == 1 ? own.private_bytes() : after_first;
    }
    EXPECT_EQ(own.private_bytes(), after_first);
  };
  std::thread one(work);
  std::thread two(work);
  one.join();
  two.join();
}

TEST_F(GradientPoolTest, RawAllocationsAreTheirOwnContext) {
  c10::Allocator* allocator = c10::GetCPUAllocator();
  ASSERT_NE(allocator->raw_deleter(), nullptr);
  void* data = allocator->raw_allocate(77);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(data) % 64, 0U);
  allocator->raw_deallocate(data);
}

}  // namespace
}  // namespace muster
