/// CudaGpu: a lane on a CUDA device: two streams, a pool of torch's caching allocator that only its
/// own stream fills, a generator, and graphs captured in thread-local mode under one process lock.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/cuda/CUDAGeneratorImpl.h>
#include <ATen/cuda/MemPool.h>

#include <cstdint>
#include <memory>
#include <string>

#include "runtime/gpu/cuda/lane_memory.h"
#include "runtime/gpu/gpu.h"

namespace muster::cuda {

class CudaGpu final : public Gpu {
 public:
  explicit CudaGpu(int index);
  ~CudaGpu() override;
  CudaGpu(const CudaGpu&) = delete;
  CudaGpu& operator=(const CudaGpu&) = delete;

  std::string name() const override;
  Device device() const override { return {Device::Kind::cuda, device_}; }
  GpuMemory memory() const override;
  std::uint64_t lane_bytes() override;
  void* stream(Queue queue) override { return raw(queue); }

  std::shared_ptr<std::byte> allocate(std::size_t bytes) override;
  std::shared_ptr<std::byte> allocate_shared(std::size_t bytes) override;
  std::shared_ptr<std::byte> allocate_pinned(std::size_t bytes) override;

  void copy(void* to, const void* from, std::size_t bytes, Queue queue) override;
  GpuEvent record(Queue queue) override;
  void wait(Queue queue, const GpuEvent& event) override;
  void synchronise() override;

  void run(const PackJob& job) override;
  void run(const NormJob& job) override;
  void run(const DecideJob& job) override;
  void run(const UpdateJob& job) override;
  void run(const OrderJob& job) override;
  void run(const GatherJob& job) override;
  void run(const CrossEntropyJob& job) override;
  void run(const AddNormJob& job) override;
  void run(const AddNormBackwardJob& job) override;
  void run(const ImageNormJob& job) override;
  void run(const ImageNormBackwardJob& job) override;
  void run(const PackNormJob& job) override;
  void run(const BiasBackwardJob& job) override;
  void run(const PoolJob& job) override;
  void run(const PoolBackwardJob& job) override;
  void run(const GeluJob& job) override;
  void run(const DropoutJob& job) override;
  void seed(std::uint64_t key) override {
    key_ = key;
    generator_.set_current_seed(key);
  }
  std::unique_ptr<GpuScope> enter() override;
  std::unique_ptr<GpuScope> scratch() override;
  void warm(const std::function<void()>& body) override;
  std::unique_ptr<GpuGraph> capture(const std::function<void()>& body, std::string& why) override;

 private:
  class LaneScope;
  class ScratchScope;
  class Graph;
  cudaStream_t raw(Queue queue) const { return (queue == Queue::copy ? copy_ : compute_).raw(); }
  bool has_company() const;
  bool has_room_for_seeds(std::string& why) const;
  void fill(at::cuda::MemPool& pool);
  void make_zero(void* data, std::size_t bytes);
  [[noreturn]] void throw_out_of_memory(std::size_t bytes) const;
  template <class Job>
  void queue(const char* what, const Job& job);

  c10::DeviceIndex device_;
  OwnQueue compute_;
  OwnQueue copy_;
  at::Generator generator_;
  std::uint64_t key_ = c10::default_rng_seed_val;
  std::unique_ptr<at::cuda::MemPool> pool_;
  std::unique_ptr<at::cuda::MemPool> graph_pool_;  // of all graphs, played one by one, and scratch
  std::unique_ptr<HostPoolUse> host_pool_;
  std::unique_ptr<PoolScope> filling_;  // while somebody is inside
  int inside_ = 0;
  std::uint64_t most_bytes_ = 0;
};

}  // namespace muster::cuda
