// The pretended card keeps its rules, so that what passes on it means something.
// SPDX-License-Identifier: Apache-2.0
#include "tests/gpu/pretend_card/emulation.h"

// The words of emulation.h come before CUDA's own.
#include <numeric>

#include "tests/gpu/pretend_card/card_fixture.h"

namespace muster::pretend {
namespace {

using testing::HasSubstr;

TEST_F(PretendCard, WhatIsCapturedHappensWhenItsGraphIsPlayed) {
  set(stream, 1);
  begin();
  set(stream, 2);
  ASSERT_EQ(end(), cudaSuccess);
  EXPECT_EQ(first(stream), 1);
  cudaGraphExec_t exec = nullptr;
  cudaGraphInstantiateWithFlags(&exec, graph, 0);
  cudaGraphLaunch(exec, stream);
  EXPECT_EQ(first(stream), 2);
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
  Numbers numbers(4 * 256);
  std::iota(numbers.values.begin(), numbers.values.end(), 0);
  start(reverse_kernel, 4, 256, stream, numbers.data());
  cudaStreamSynchronize(stream);
  for (int block = 0; block < 4; ++block) {
    for (int i = 0; i < 256; ++i) {
      ASSERT_EQ(numbers.values[static_cast<std::size_t>(block * 256 + i)], block * 256 + 255 - i);
    }
  }
}

TEST_F(PretendCard, LanesOfAWarpSwapWords) {
  Numbers numbers(2 * 96, 1);
  Numbers sums(2);
  numbers.values[5] = 11;
  start(sum_kernel, 2, 96, stream, static_cast<const int*>(numbers.data()), sums.data());
  cudaStreamSynchronize(stream);
  EXPECT_EQ(sums.values, (std::vector<int>{106, 96}));
  EXPECT_STREQ(pretend_card_faults(), "");
}

TEST_F(PretendCard, AMissingBarrierShows) {
  Numbers numbers(256);
  std::iota(numbers.values.begin(), numbers.values.end(), 1);
  start(hasty_kernel, 1, 256, stream, numbers.data());
  cudaStreamSynchronize(stream);
  std::vector<int> reversed(256);
  std::iota(reversed.rbegin(), reversed.rend(), 1);
  EXPECT_NE(numbers.values, reversed);
}

TEST_F(PretendCard, BlocksAreNoLargerThanTheCards) {
  start(hasty_kernel, 1, 1025, stream, static_cast<int*>(nullptr));
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidConfiguration);
}

}  // namespace
}  // namespace muster::pretend
