// Lanes of the CUDA module on the pretended card: torch's own allocator, generators and graphs.
// SPDX-License-Identifier: Apache-2.0
#include <ATen/ops/full.h>
#include <cuda_runtime_api.h>
#include <gmock/gmock.h>

#include <cstdio>
#include <cstdlib>
#include <latch>
#include <thread>

#include "runtime/comm/communicator.h"
#include "runtime/comm/node_group.h"
#include "runtime/config/job.h"
#include "runtime/data/dataset.h"
#include "runtime/gpu/open_gpus.h"
#include "runtime/model/autocast.h"
#include "runtime/model/model.h"
#include "runtime/train/gpu_step.h"

extern "C" const char* pretend_card_faults();
extern "C" void pretend_card_reset();
extern "C" std::uint64_t pretend_card_seed();

namespace muster {
namespace {

class CardLanes : public testing::Test {
 protected:
  void SetUp() override {
    pretend_card_reset();
    std::string why;
    gpus = open_gpu_module(std::getenv("PRETENDED_MODULE"), why);
    ASSERT_NE(gpus, nullptr) << why;
  }
  void TearDown() override {
    if (HasFailure()) {
      std::printf("the card's queues were late by PRETEND_CARD_SEED=%llu\n",
                  static_cast<unsigned long long>(pretend_card_seed()));
    }
  }
  static at::Tensor ones(std::int64_t count) {
    return at::full({count}, 1.0, at::TensorOptions().dtype(at::kFloat).device(at::kCUDA));
  }
  Gpus* gpus = nullptr;
};

TEST_F(CardLanes, ALaneEndsWhileAnotherIsAtWork) {
  const auto busy = gpus->lane(0);
  std::latch is_inside(1);
  std::latch may_leave(1);
  std::thread at_work([&] {
    const auto scope = busy->enter();
    const at::Tensor kept = ones(1000);
    is_inside.count_down();
    may_leave.wait();
  });
  is_inside.wait();
  auto ending = gpus->lane(0);
  std::thread ends([&] { ending.reset(); });  // waits until nobody fills a pool
  may_leave.count_down();
  at_work.join();
  ends.join();
  const auto scope = busy->enter();
  EXPECT_EQ(ones(10).sum().item<float>(), 10);
}

/// Rows that take as long to read as another lane takes to end.
class SlowRows final : public Dataset {
 public:
  SlowRows(const Dataset& data, std::function<void()> meanwhile)
      : data_(data), meanwhile_(std::move(meanwhile)) {}
  std::uint64_t rows() const override { return data_.rows(); }
  const DataShape& shape() const override { return data_.shape(); }
  void gather(std::span<const std::uint64_t> rows, std::span<std::byte> features,
              std::span<std::byte> labels) const override {
    meanwhile_();
    data_.gather(rows, features, labels);
  }
  std::string name() const override { return data_.name(); }
  std::string tier() const override { return data_.tier(); }
  std::string fingerprint() const override { return data_.fingerprint(); }

 private:
  const Dataset& data_;
  std::function<void()> meanwhile_;
};

TEST_F(CardLanes, ALaneEndsWhileAnotherReadsItsDataSet) {
  DataSettings about;
  about.format = "synthetic";
  about.shape = "8";
  about.classes = 4;
  about.rows = 64;
  const auto node = solo_node_group();
  const DataSets sets = open_data(about, *node);
  auto other = gpus->lane(0);
  const SlowRows data(*sets.train, [&] { std::thread([&] { other.reset(); }).join(); });
  const auto lane = gpus->lane(0);
  const auto model = make_model({.kind = "linear"}, data.shape(), 1);
  const auto alone = solo_communicator();
  GpuStep step(*model, data, Loss{}, {.gpu = lane.get()}, *alone, {.batch = 16},
               [](const std::string& text) { FAIL() << text; });
  EXPECT_EQ(other, nullptr);
  std::size_t finished = 0;
  for (int i = 0; i < 4; ++i) {
    finished += step.step(1, {}).finished.size();
  }
  EXPECT_EQ(finished + step.drain().size(), 4U);
}

TEST_F(CardLanes, MemoryOfALaneThatIsGoneIsTheCardsAgain) {
  const auto watching = gpus->lane(0);
  const std::uint64_t before = watching->memory().free;
  {
    const auto lane = gpus->lane(0);
    const auto memory = lane->allocate(std::size_t{64} << 20);
    EXPECT_LT(watching->memory().free, before);
  }
  EXPECT_EQ(watching->memory().free, before);
}

TEST_F(CardLanes, AGraphComputesWhatItsBodyQueued) {
  const auto lane = gpus->lane(0);
  const auto scope = lane->enter();
  at::Tensor value = ones(4);
  std::string why;
  const auto graph = lane->capture([&] { value.add_(1); }, why);
  ASSERT_NE(graph, nullptr) << why;
  EXPECT_EQ(value.sum().item<float>(), 4);
  graph->replay();
  graph->replay();
  EXPECT_EQ(value.sum().item<float>(), 12);
  EXPECT_STREQ(pretend_card_faults(), "");
}

TEST_F(CardLanes, ABodyThatLooksAtAResultIsNotCapturedAndTheLaneGoesOn) {
  const auto lane = gpus->lane(0);
  const auto scope = lane->enter();
  at::Tensor value = ones(4);
  std::string why;
  const auto graph = lane->capture([&] { value.add_(value.sum().item<float>()); }, why);
  EXPECT_EQ(graph, nullptr);
  EXPECT_THAT(why, testing::HasSubstr("captur"));
  EXPECT_EQ(value.sum().item<float>(), 4);
  const auto again = lane->capture([&] { value.add_(1); }, why);
  ASSERT_NE(again, nullptr) << why;
  again->replay();
  EXPECT_EQ(value.sum().item<float>(), 8);
}

TEST_F(CardLanes, ALaneCapturesAgainWhenItsGraphsAreGone) {
  const auto lane = gpus->lane(0);
  const auto scope = lane->enter();
  at::Tensor value = ones(4);
  for (int i = 0; i < 3; ++i) {
    std::string why;
    ASSERT_NE(lane->capture([&] { value.add_(1); }, why), nullptr) << why;
  }
}

TEST_F(CardLanes, ACaptureThatNoMemoryIsLeftForIsToldAndTheLaneGoesOn) {
  const auto lane = gpus->lane(0);
  const auto scope = lane->enter();
  at::Tensor value = ones(4);
  auto rest = lane->allocate_shared(lane->memory().free);
  std::string why;
  EXPECT_EQ(lane->capture([&] { value.add_(ones(std::int64_t{1} << 20).sum()); }, why), nullptr);
  EXPECT_THAT(why, testing::HasSubstr("out of memory"));
  rest.reset();
  const auto graph = lane->capture([&] { value.add_(1); }, why);
  ASSERT_NE(graph, nullptr) << why;
  graph->replay();
  EXPECT_EQ(value.sum().item<float>(), 8);
}

TEST_F(CardLanes, AnErrorThatSomebodyElseLeftIsNotAKernels) {
  const auto lane = gpus->lane(0);
  const auto order = lane->allocate(64 * sizeof(std::uint32_t));
  void* more = nullptr;
  ASSERT_EQ(cudaMalloc(&more, std::size_t{1} << 40), cudaErrorMemoryAllocation);
  lane->run(OrderJob{.to = reinterpret_cast<std::uint32_t*>(order.get()), .rows = 64});
  lane->synchronise();
}

TEST_F(CardLanes, OutOfMemorySaysHowMuchThereIs) {
  const auto lane = gpus->lane(0);
  try {
    lane->allocate(std::size_t{200} << 30);
    FAIL() << "200 GB, which no card has";
  } catch (const std::exception& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("out of memory on the GPU: 214748364800 bytes"));
  }
  EXPECT_NE(lane->allocate(4096), nullptr);
}

}  // namespace
}  // namespace muster
