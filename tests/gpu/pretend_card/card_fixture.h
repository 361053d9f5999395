/// PretendCard: two queues, two events and memory of the pretended card.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>
#include <gmock/gmock.h>

#include <vector>

extern "C" const char* pretend_card_faults();
extern "C" void pretend_card_reset();
extern "C" std::uint64_t pretend_card_seed();

namespace muster::pretend {

/// Numbers that kernels reach, on the host.
class Numbers {
 public:
  explicit Numbers(std::size_t count, int value = 0) : values(count, value) {
    cudaHostRegister(values.data(), count * sizeof(int), cudaHostRegisterDefault);
  }
  ~Numbers() {
    cudaDeviceSynchronize();
    cudaHostUnregister(values.data());
  }
  Numbers(const Numbers&) = delete;
  Numbers& operator=(const Numbers&) = delete;
  int* data() { return values.data(); }

  std::vector<int> values;
};

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
    cudaDeviceSynchronize();
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
  /// The first byte, when `on` has come here.
  int first(cudaStream_t on) {
    char byte = 0;
    cudaMemcpyAsync(&byte, memory, 1, cudaMemcpyDeviceToHost, on);
    return byte;
  }

  cudaStream_t stream = nullptr;
  cudaStream_t other = nullptr;
  cudaEvent_t event = nullptr;
  cudaEvent_t back = nullptr;
  cudaGraph_t graph = nullptr;
  char* memory = nullptr;
};

}  // namespace muster::pretend
