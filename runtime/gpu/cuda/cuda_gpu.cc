// SPDX-License-Identifier: Apache-2.0
#include "runtime/gpu/cuda/cuda_gpu.h"

#include <ATen/cuda/CUDAContextLight.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/gpu/cuda/check.h"
#include "runtime/gpu/cuda/launch.h"

namespace muster::cuda {
namespace {

namespace allocator = c10::cuda::CUDACachingAllocator;

/// Lanes of the process. A lane alone waits on its core; several would take cores from each other,
/// so their threads sleep.
std::atomic<int> lane_count = 0;

class Event final : public GpuMark {
 public:
  Event(cudaStream_t stream, int device) : device_(device) {
    const unsigned sleeps = lane_count > 1 ? cudaEventBlockingSync : cudaEventDefault;
    check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming | sleeps), "cudaEventCreate",
          device_);
    check(cudaEventRecord(event_, stream), "cudaEventRecord", device_);
  }
  ~Event() override { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  bool is_done() override {
    const cudaError_t state = cudaEventQuery(event_);
    if (state == cudaErrorNotReady) {
      cudaGetLastError();  // remembers it, and the next launch would be blamed
      return false;
    }
    check(state, "a GPU kernel or copy", device_);
    return true;
  }
  void wait() override { check(cudaEventSynchronize(event_), "a GPU kernel or copy", device_); }
  cudaEvent_t raw() const { return event_; }

 private:
  int device_;
  cudaEvent_t event_ = nullptr;
};

}  // namespace

CudaGpu::CudaGpu(int index)
    : device_(static_cast<c10::DeviceIndex>(index)),
      compute_(device_),
      copy_(device_),
      generator_(at::cuda::detail::createCUDAGenerator(device_)) {
  const c10::cuda::CUDAGuard guard(device_);
  ++lane_count;
  pool_ = std::make_unique<at::cuda::MemPool>();
  graph_pool_ = std::make_unique<at::cuda::MemPool>();
  host_pool_ = std::make_unique<HostPoolUse>(graph_pool_->id());
}

CudaGpu::~CudaGpu() {
  --lane_count;
  try {
    synchronise();
  } catch (const std::exception&) {  // told where it was met; nothing can be given back
    static_cast<void>(pool_.release());
    static_cast<void>(graph_pool_.release());
    return;
  }
  give_up_workspaces(raw(Queue::compute));
  const std::lock_guard closed(pool_gate());
  host_pool_.reset();
  pool_.reset();
  graph_pool_.reset();
}

bool CudaGpu::has_company() const {
  return lane_count > 1;
}

std::string CudaGpu::name() const {
  return fmt::format("{} at {}", at::cuda::getDeviceProperties(device_)->name, bus_of(device_));
}

GpuMemory CudaGpu::memory() const {
  const c10::cuda::CUDAGuard guard(device_);
  std::size_t free = 0;
  std::size_t total = 0;
  check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo", device_);
  return {free, total};
}

std::uint64_t CudaGpu::lane_bytes() {
  std::uint64_t bytes = 0;
  for (auto* pool : {pool_.get(), graph_pool_.get()}) {
    for (const auto& segment : allocator::snapshot(pool->id(), false).segments) {
      bytes += segment.total_size;
    }
  }
  most_bytes_ = std::max(most_bytes_, bytes);
  return most_bytes_;
}

std::shared_ptr<std::byte> CudaGpu::allocate(std::size_t bytes) {
  const auto scope = enter();
  void* data = nullptr;
  try {
    data = allocator::raw_alloc_with_stream(std::max<std::size_t>(bytes, 512), raw(Queue::compute));
  } catch (const c10::OutOfMemoryError&) {
    throw_out_of_memory(bytes);
  }
  std::shared_ptr<std::byte> memory{static_cast<std::byte*>(data),
                                    [](std::byte* gone) { allocator::raw_delete(gone); }};
  make_zero(data, bytes);
  return memory;
}

std::shared_ptr<std::byte> CudaGpu::allocate_shared(std::size_t bytes) {
  const c10::cuda::CUDAGuard guard(device_);
  void* data = nullptr;
  const cudaError_t error = cudaMalloc(&data, std::max<std::size_t>(bytes, 512));
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    throw_out_of_memory(bytes);
  }
  check(error, "cudaMalloc", device_);
  std::shared_ptr<std::byte> memory{static_cast<std::byte*>(data),
                                    [](std::byte* gone) { cudaFree(gone); }};
  make_zero(data, bytes);
  return memory;
}

std::shared_ptr<std::byte> CudaGpu::allocate_pinned(std::size_t bytes) {
  const c10::cuda::CUDAGuard guard(device_);
  void* data = nullptr;
  const cudaError_t error =
      cudaHostAlloc(&data, std::max<std::size_t>(bytes, 1), cudaHostAllocDefault);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // else torch takes it for that of its next kernel
  }
  check(error, "cudaHostAlloc", device_);
  std::memset(data, 0, bytes);
  return {static_cast<std::byte*>(data), [](std::byte* memory) { cudaFreeHost(memory); }};
}

void CudaGpu::make_zero(void* data, std::size_t bytes) {
  check(cudaMemsetAsync(data, 0, bytes, raw(Queue::compute)), "cudaMemset", device_);
  check(cudaStreamSynchronize(raw(Queue::compute)), "cudaMemset",
        device_);  // before any other queue's
}

void CudaGpu::throw_out_of_memory(std::size_t bytes) const {
  const GpuMemory now = memory();
  throw Error(Fault::io,
              fmt::format("out of memory on the GPU: {} bytes asked for, {} of {} free; a smaller "
                          "train.batch_size or model needs less",
                          bytes, now.free, now.total));
}

void CudaGpu::copy(void* to, const void* from, std::size_t bytes, Queue queue) {
  const c10::cuda::CUDAGuard guard(device_);
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, raw(queue)), "cudaMemcpyAsync",
        device_);
}

GpuEvent CudaGpu::record(Queue queue) {
  const c10::cuda::CUDAGuard guard(device_);
  return std::make_shared<Event>(raw(queue), device_);
}

void CudaGpu::wait(Queue queue, const GpuEvent& event) {
  check(cudaStreamWaitEvent(raw(queue), static_cast<Event&>(*event).raw(), 0),
        "cudaStreamWaitEvent", device_);
}

void CudaGpu::synchronise() {
  const c10::cuda::CUDAGuard guard(device_);
  check(cudaStreamSynchronize(raw(Queue::compute)), "the GPU's work", device_);
  check(cudaStreamSynchronize(raw(Queue::copy)), "the GPU's copies", device_);
}

template <class Job>
void CudaGpu::queue(const char* what, const Job& job) {
  cudaGetLastError();  // what somebody else has left is not this launch's
  launch(job, raw(Queue::compute));
  check(cudaGetLastError(), what, device_);
}

void CudaGpu::run(const PackJob& job) {
  queue("the pack kernel", job);
}
void CudaGpu::run(const NormJob& job) {
  queue("the norm kernel", job);
}
void CudaGpu::run(const DecideJob& job) {
  queue("the decide kernel", job);
}
void CudaGpu::run(const UpdateJob& job) {
  queue("the update kernel", job);
}
void CudaGpu::run(const OrderJob& job) {
  queue("the order kernel", job);
}
void CudaGpu::run(const GatherJob& job) {
  queue("the gather kernel", job);
}
void CudaGpu::run(const CrossEntropyJob& job) {
  queue("the cross-entropy kernel", job);
}
void CudaGpu::run(const AddNormJob& job) {
  queue("the layer-norm kernel", job);
}
void CudaGpu::run(const AddNormBackwardJob& job) {
  queue("the layer-norm gradient", job);
}
void CudaGpu::run(const ImageNormJob& job) {
  queue("the batch-norm kernels", job);
}
void CudaGpu::run(const ImageNormBackwardJob& job) {
  queue("the batch-norm gradient", job);
}
void CudaGpu::run(const PackNormJob& job) {
  queue("the pack and norm kernel", job);
}
void CudaGpu::run(const BiasBackwardJob& job) {
  queue("the bias's gradient", job);
}
void CudaGpu::run(const PoolJob& job) {
  queue("the max-pool kernel", job);
}
void CudaGpu::run(const PoolBackwardJob& job) {
  queue("the max-pool gradient", job);
}
void CudaGpu::run(const GeluJob& job) {
  queue("the GELU kernel", job);
}
void CudaGpu::run(const DropoutJob& job) {
  queue("the dropout kernel", job);
}

}  // namespace muster::cuda
