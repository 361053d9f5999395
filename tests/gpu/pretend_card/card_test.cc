// The pretended card keeps its rules, so that what passes on it means something.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <numeric>
#include <vector>

#include "tests/gpu/pretend_card/emulation.h"

extern "C" const char* pretend_card_faults();
extern "C" void pretend_card_reset();

namespace muster::pretend {
namespace {

using testing::HasSubstr;

class PretendCard : public testing::Test {
 protected:
  PretendCard() {
    pretend_card_reset();
    cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking);
    cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
    cudaEventCreateWithFlags(&back, cudaEventDisableTiming);
    cudaMalloc(reinterpret_cast<void**>(&memory), 4096);
  }
  ~PretendCard() override {
    cudaFree(memory);
    cudaEventDestroy(event);
    cudaEventDestroy(back);
    cudaStreamDestroy(stream);
    cudaStreamDestroy(other);
    cudaGetLastError();
  }
  void begin() { ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), 0); }
  cudaError_t end() { return cudaStreamEndCapture(stream, &graph); }
  void set(cudaStream_t on, int value) { cudaMemsetAsync(memory, value, 1, on); }

  cudaStream_t stream = nullptr;
  cudaStream_t other = nullptr;
  cudaEvent_t event = nullptr;
  cudaEvent_t back = nullptr;
  cudaGraph_t graph = nullptr;
  char* memory = nullptr;
};

TEST_F(PretendCard, WhatIsCapturedHappensWhenItsGraphIsPlayed) {
  set(stream, 1);
  begin();
  set(stream, 2);
  ASSERT_EQ(end(), cudaSuccess);
  EXPECT_EQ(memory[0], 1);
  cudaGraphExec_t exec = nullptr;
  cudaGraphInstantiateWithFlags(&exec, graph, 0);
  cudaGraphLaunch(exec, stream);
  EXPECT_EQ(memory[0], 2);
  EXPECT_STREQ(pretend_card_faults(), "");
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
}

TEST_F(PretendCard, WaitingForAQueueUnderCaptureBreaksIt) {
  begin();
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaErrorStreamCaptureUnsupported);
  EXPECT_EQ(end(), cudaErrorStreamCaptureInvalidated);
  EXPECT_THAT(pretend_card_faults(), HasSubstr("cudaStreamSynchronize"));
}

TEST_F(PretendCard, MemoryIsNotAllocatedByWhoCaptures) {
  begin();
  void* more = nullptr;
  EXPECT_EQ(cudaMalloc(&more, 16), cudaErrorStreamCaptureUnsupported);
  std::thread elsewhere([&] { EXPECT_EQ(cudaMalloc(&more, 16), cudaSuccess); });
  elsewhere.join();
  cudaStreamCaptureMode relaxed = cudaStreamCaptureModeRelaxed;
  void* again = nullptr;
  cudaThreadExchangeStreamCaptureMode(&relaxed);
  EXPECT_EQ(cudaMalloc(&again, 16), cudaSuccess);
  cudaThreadExchangeStreamCaptureMode(&relaxed);
  EXPECT_EQ(end(), cudaErrorStreamCaptureInvalidated);
  cudaFree(more);
  cudaFree(again);
}

TEST_F(PretendCard, AQueueThatWaitsForACaptureIsPartOfItAndMustJoinAgain) {
  for (const bool joins : {true, false}) {
    begin();
    set(stream, 1);
    cudaEventRecord(event, stream);
    cudaStreamWaitEvent(other, event, 0);
    set(other, 2);
    cudaEventRecord(back, other);
    if (joins) {
      cudaStreamWaitEvent(stream, back, 0);
    }
    EXPECT_EQ(end(), joins ? cudaSuccess : cudaErrorStreamCaptureUnjoined);
    if (joins) {
      cudaGraphDestroy(graph);
    }
  }
  EXPECT_THAT(pretend_card_faults(), HasSubstr("nobody joined"));
}

TEST_F(PretendCard, WorkThatACaptureLeavesOutIsAFault) {
  begin();
  set(other, 1);
  EXPECT_THAT(pretend_card_faults(), HasSubstr("leaves out"));
  end();
}

TEST_F(PretendCard, CopiesBeyondTheEndAreRefused) {
  char host[8192] = {};
  EXPECT_EQ(cudaMemcpyAsync(memory, host, 4096, cudaMemcpyDefault, stream), cudaSuccess);
  EXPECT_EQ(cudaMemcpyAsync(memory, host, 4097, cudaMemcpyDefault, stream), cudaErrorInvalidValue);
  EXPECT_THAT(pretend_card_faults(), HasSubstr("beyond the end"));
}

TEST_F(PretendCard, FreeingTwiceIsRefused) {
  void* more = nullptr;
  cudaMalloc(&more, 16);
  EXPECT_EQ(cudaFree(more), cudaSuccess);
  EXPECT_EQ(cudaFree(more), cudaErrorInvalidValue);
}

TEST_F(PretendCard, MoreMemoryThanTheCardHasIsNotGiven) {
  void* more = nullptr;
  EXPECT_EQ(cudaMalloc(&more, std::size_t{140} << 30), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaGetLastError(), cudaErrorMemoryAllocation);
}

// Kernels in the words of CUDA.

void reverse_kernel(int* values) {
  __shared__ int held[1024];
  held[threadIdx.x] = values[blockIdx.x * blockDim.x + threadIdx.x];
  __syncthreads();
  values[blockIdx.x * blockDim.x + threadIdx.x] = held[blockDim.x - 1 - threadIdx.x];
}

void sum_kernel(const int* values, int* sums) {
  int sum = values[blockIdx.x * blockDim.x + threadIdx.x];
  for (unsigned distance = 16; distance > 0; distance /= 2) {
    sum += __shfl_xor_sync(~0U, sum, distance);
  }
  if (threadIdx.x % 32 == 0) {
    atomicAdd(reinterpret_cast<unsigned*>(sums + blockIdx.x), static_cast<unsigned>(sum));
  }
}

/// Without the barrier that it needs.
void hasty_kernel(int* values) {
  __shared__ int held[1024];
  held[threadIdx.x] = values[threadIdx.x];
  values[threadIdx.x] = held[blockDim.x - 1 - threadIdx.x];
}

template <class... Parameters, class... Arguments>
void start(void (*kernel)(Parameters...), unsigned blocks, unsigned threads, cudaStream_t stream,
           Arguments... arguments) {
  cudaLaunchConfig_t how{};
  how.gridDim = dim3(blocks);
  how.blockDim = dim3(threads);
  how.stream = stream;
  cudaLaunchKernelEx(&how, kernel, arguments...);
}

TEST_F(PretendCard, ThreadsOfABlockMeetAtBarriers) {
  std::vector<int> values(4 * 256);
  std::iota(values.begin(), values.end(), 0);
  start(reverse_kernel, 4, 256, stream, values.data());
  for (int block = 0; block < 4; ++block) {
    for (int i = 0; i < 256; ++i) {
      ASSERT_EQ(values[static_cast<std::size_t>(block * 256 + i)], block * 256 + 255 - i);
    }
  }
}

TEST_F(PretendCard, LanesOfAWarpSwapWords) {
  std::vector<int> values(2 * 96, 1);
  std::vector<int> sums(2);
  values[5] = 11;
  start(sum_kernel, 2, 96, stream, static_cast<const int*>(values.data()), sums.data());
  EXPECT_EQ(sums, (std::vector<int>{106, 96}));
}

TEST_F(PretendCard, AMissingBarrierShows) {
  std::vector<int> values(256);
  std::iota(values.begin(), values.end(), 1);
  start(hasty_kernel, 1, 256, stream, values.data());
  std::vector<int> reversed(256);
  std::iota(reversed.rbegin(), reversed.rend(), 1);
  EXPECT_NE(values, reversed);
}

TEST_F(PretendCard, BlocksAreNoLargerThanTheCards) {
  start(hasty_kernel, 1, 1025, stream, static_cast<int*>(nullptr));
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidConfiguration);
}

}  // namespace
}  // namespace muster::pretend
