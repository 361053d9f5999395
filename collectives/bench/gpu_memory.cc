// SPDX-License-Identifier: Apache-2.0
#include "collectives/bench/gpu_memory.h"

#include <fmt/format.h>

#include "runtime/base/error.h"

namespace muster {
namespace {

constexpr int any_direction = 4;  // cudaMemcpyDefault
constexpr nccl::Stream compute = nullptr;

class GpuMemory final : public BenchMemory {
 public:
  GpuMemory(const nccl::CudaTable& cuda, int device, std::size_t bytes)
      : cuda_(cuda), device_(device), host_(bytes), kept_(cuda, bytes), data_(cuda, bytes) {}
  void keep(std::vector<std::byte> values) override {
    host_ = std::move(values);
    copy(kept_.get(), host_.data());
    settle();
  }
  void rewrite() override { copy(data_.get(), kept_.get()); }
  void* data() const override { return data_.get(); }
  Device device() const override { return {.kind = Device::Kind::cuda, .index = device_}; }
  std::span<const std::byte> contents() override {
    copy(host_.data(), data_.get());
    settle();
    return host_;
  }
  void settle() override { check(cuda_, cuda_.stream_synchronize(compute), "wait for the GPU"); }

 private:
  static void check(const nccl::CudaTable& cuda, int error, std::string_view what) {
    if (error != 0) {
      throw Error(Fault::io, fmt::format("{}: {}", what, cuda.error_string(error)));
    }
  }
  class Block {
   public:
    Block(const nccl::CudaTable& cuda, std::size_t bytes) : cuda_(cuda) {
      check(cuda, cuda.allocate(&data_, bytes), fmt::format("get {} bytes of the GPU", bytes));
    }
    Block(const Block&) = delete;
    Block& operator=(const Block&) = delete;
    ~Block() { cuda_.free(data_); }
    void* get() const { return data_; }

   private:
    const nccl::CudaTable& cuda_;
    void* data_ = nullptr;
  };
  void copy(void* to, const void* from) {
    check(cuda_, cuda_.copy_async(to, from, host_.size(), any_direction, compute),
          "copy memory of the GPU");
  }

  const nccl::CudaTable& cuda_;
  int device_;
  std::vector<std::byte> host_;
  Block kept_;
  Block data_;
};

}  // namespace

BenchMemorySource gpu_memory(const nccl::CudaTable& cuda, int device) {
  return [&cuda, device](std::size_t bytes) {
    return std::make_unique<GpuMemory>(cuda, device, bytes);
  };
}

void check_gpus(const nccl::CudaTable& cuda, int ranks) {
  int count = 0;
  const int error = cuda.device_count(&count);
  if (error != 0) {
    throw Error(Fault::bad_input, fmt::format("no GPU can be used here ({}): take --backend shm",
                                              cuda.error_string(error)));
  }
  if (count < ranks) {
    throw Error(
        Fault::bad_input,
        fmt::format("NCCL wants a GPU for each rank, and this machine shows {} to {} ranks: "
                    "lower --ranks, or take --backend shm",
                    count, ranks));
  }
}

}  // namespace muster
