// What is queued happens when its queue comes to it, and no sooner than events allow.
// SPDX-License-Identifier: Apache-2.0
#include <set>

#include "tests/gpu/pretend_card/card.h"
#include "tests/gpu/pretend_card/card_fixture.h"

namespace muster::pretend {
namespace {

/// Ten thousand copies from one queue into another's work: with an event none is early, without one
/// some are.
TEST_F(PretendCard, QueuesAreOrderedByEventsAlone) {
  Numbers found(10000);
  for (const bool waits : {true, false}) {
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < found.values.size(); ++i) {
      cudaMemsetAsync(memory, static_cast<int>(i % 100), sizeof(int), stream);
      if (waits) {
        cudaEventRecord(event, stream);
        cudaStreamWaitEvent(other, event, 0);
      }
      cudaMemcpyAsync(found.data() + i, memory, sizeof(int), cudaMemcpyDeviceToHost, other);
      if (waits) {
        cudaEventRecord(back, other);
        cudaStreamWaitEvent(stream, back, 0);
      }
    }
    cudaDeviceSynchronize();
    for (std::size_t i = 0; i < found.values.size(); ++i) {
      wrong += found.values[i] == static_cast<int>(i % 100) * 0x01010101 ? 0U : 1U;
    }
    EXPECT_EQ(wrong == 0, waits) << "seed " << pretend_card_seed();
  }
}

/// What is queued is not done yet, and says so as the card does: an answer that is remembered.
TEST_F(PretendCard, AnEventThatIsNotReachedIsNotReady) {
  cudaError_t answer = cudaSuccess;
  for (int i = 0; i < 1000 && answer == cudaSuccess; ++i) {
    set(stream, 1);
    cudaEventRecord(event, stream);
    answer = cudaEventQuery(event);
  }
  EXPECT_EQ(answer, cudaErrorNotReady) << "seed " << pretend_card_seed();
  EXPECT_EQ(cudaPeekAtLastError(), cudaErrorNotReady);
  EXPECT_EQ(cudaGetLastError(), cudaErrorNotReady);
  EXPECT_EQ(cudaEventSynchronize(event), cudaSuccess);
  EXPECT_EQ(cudaEventQuery(event), cudaSuccess);
}

TEST_F(PretendCard, TheDefaultQueueWaitsForBlockingOnes) {
  cudaStream_t blocking = nullptr;
  cudaStreamCreateWithFlags(&blocking, cudaStreamDefault);
  for (int i = 0; i < 1000; ++i) {
    set(blocking, i % 100);
    ASSERT_EQ(first(nullptr), i % 100) << "seed " << pretend_card_seed();
  }
  cudaStreamDestroy(blocking);
}

TEST_F(PretendCard, StepsOfAGraphAreOrderedByWhatTheyComeAfter) {
  begin();
  set(stream, 1);
  cudaEventRecord(event, stream);
  cudaStreamWaitEvent(other, event, 0);
  cudaMemsetAsync(memory + 1, 1, 1, other);
  set(stream, 2);
  cudaEventRecord(back, other);
  cudaStreamWaitEvent(stream, back, 0);
  ASSERT_EQ(end(), cudaSuccess);
  const auto* recording = reinterpret_cast<Recording*>(graph);
  std::minstd_rand random(1);
  std::set<std::size_t> seconds;
  for (int i = 0; i < 100; ++i) {
    const auto order = recording->some_order(random);
    ASSERT_EQ(order.size(), 3U);
    EXPECT_EQ(order[0], recording->steps.data());
    seconds.insert(static_cast<std::size_t>(order[1] - recording->steps.data()));
  }
  EXPECT_THAT(seconds, testing::ElementsAre(1, 2));
  cudaGraphDestroy(graph);
}

/// Pageable memory is read before the call is over, pinned memory when the queue comes to it.
TEST_F(PretendCard, PinnedMemoryIsReadLate) {
  Numbers pinned(1000);
  std::vector<int> pageable(1000);
  int late = 0;
  for (int i = 1; i < 1000; ++i) {
    int* const last = pinned.data() + i;
    for (int* from : {last, pageable.data() + i}) {
      *from = 1;
      cudaMemcpyAsync(memory, from, 1, cudaMemcpyHostToDevice, stream);
      *from = 2;
      const int found = first(stream);
      late += found == 2 ? 1 : 0;
      EXPECT_TRUE(from == last || found == 1);
    }
  }
  EXPECT_GT(late, 0) << "seed " << pretend_card_seed();
}

TEST_F(PretendCard, TheHostCannotTouchMemoryOfTheCard) {
  cudaDeviceSynchronize();
  EXPECT_DEATH(memory[0] = 1, "");
}

}  // namespace
}  // namespace muster::pretend
