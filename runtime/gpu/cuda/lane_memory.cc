// SPDX-License-Identifier: Apache-2.0
#include "runtime/gpu/cuda/lane_memory.h"

#include <ATen/core/CachingHostAllocator.h>
#include <ATen/cuda/CUDAContextLight.h>
#include <ATen/cuda/CUDAGeneratorImpl.h>
#include <c10/cuda/CUDAGuard.h>

#include <map>
#include <mutex>
#include <tuple>
#include <vector>

#include "runtime/gpu/cuda/check.h"

namespace muster::cuda {
namespace {

namespace allocator = c10::cuda::CUDACachingAllocator;

/// Queues that no lane has at the moment. Never closed: the driver does it when the process ends.
struct IdleQueues {
  std::mutex mutex;
  std::map<c10::DeviceIndex, std::vector<cudaStream_t>> of;
};

IdleQueues& idle_queues() {
  static auto* queues = new IdleQueues;  // NOLINT(cppcoreguidelines-owning-memory): outlives all
  return *queues;
}

}  // namespace

OwnQueue::OwnQueue(c10::DeviceIndex device) : device_(device) {
  IdleQueues& idle = idle_queues();
  const std::lock_guard lock(idle.mutex);
  auto& here = idle.of[device];
  if (here.empty()) {
    const c10::cuda::CUDAGuard guard(device);
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate", device);
  } else {
    stream_ = here.back();
    here.pop_back();
  }
}

OwnQueue::~OwnQueue() {
  IdleQueues& idle = idle_queues();
  const std::lock_guard lock(idle.mutex);
  idle.of[device_].push_back(stream_);
}

c10::cuda::CUDAStream OwnQueue::get() const {
  return c10::cuda::getStreamFromExternal(stream_, device_);
}

void give_up_workspaces(cudaStream_t queue) {
  for (auto* workspaces : {&at::cuda::cublas_handle_stream_to_workspace(),
                           &at::cuda::cublaslt_handle_stream_to_workspace()}) {
    const std::unique_lock lock(workspaces->mutex);
    std::erase_if(workspaces->map,
                  [queue](const auto& each) { return std::get<1>(each.first) == queue; });
  }
}

PoolGate& pool_gate() {
  static PoolGate gate;
  return gate;
}

void PoolGate::enter() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return closing_ == 0; });
  ++inside_;
}

void PoolGate::leave() {
  const std::lock_guard lock(mutex_);
  if (--inside_ == 0 && closing_ > 0) {
    changed_.notify_all();
  }
}

void PoolGate::lock() {
  std::unique_lock lock(mutex_);
  ++closing_;
  changed_.wait(lock, [this] { return inside_ == 0 && !is_closed_; });
  is_closed_ = true;
}

void PoolGate::unlock() {
  const std::lock_guard lock(mutex_);
  is_closed_ = false;
  --closing_;
  changed_.notify_all();
}

PoolScope::PoolScope(c10::DeviceIndex device, c10::MempoolId_t pool, cudaStream_t stream)
    : device_(device), pool_(pool) {
  allocator::beginAllocateToPool(device_, pool_,
                                 [stream](cudaStream_t asked) { return asked == stream; });
}

/// Both: to begin counts one more user of the pool, to end does not take it back, and a pool that
/// has users is never freed.
PoolScope::~PoolScope() {
  allocator::endAllocateToPool(device_, pool_);
  allocator::releasePool(device_, pool_);
}

HostPoolUse::HostPoolUse(c10::MempoolId_t pool) : pool_(pool) {
  auto* host = at::getHostAllocator(at::kCUDA);
  host->begin_allocate_to_pool(pool_, [](c10::Stream /*asked*/) { return false; });
  host->end_allocate_to_pool(pool_);
}

HostPoolUse::~HostPoolUse() {
  at::getHostAllocator(at::kCUDA)->release_pool(pool_);
}

GeneratorScope::GeneratorScope(const at::Generator& lane, c10::DeviceIndex device)
    : default_(at::cuda::detail::getDefaultCUDAGenerator(device)),
      before_(default_.graphsafe_get_state()) {
  default_.graphsafe_set_state(lane.graphsafe_get_state());
}

GeneratorScope::~GeneratorScope() {
  default_.graphsafe_set_state(before_);
}

void forget_capture(c10::DeviceIndex device, c10::MempoolId_t pool) noexcept {
  try {
    allocator::endAllocateToPool(device, pool);
    allocator::releasePool(device, pool);
  } catch (const std::exception&) {  // it was ended, and releases its pool itself
  }
  try {
    auto* host = at::getHostAllocator(at::kCUDA);
    host->end_allocate_to_pool(pool);
    host->release_pool(pool);
  } catch (const std::exception&) {  // likewise
  }
}

}  // namespace muster::cuda
