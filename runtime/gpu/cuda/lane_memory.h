/// What a lane takes of torch's process-wide things and gives back: a queue of the card, a pool of
/// the caching allocator while somebody fills it, and torch's default generator.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Generator.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAStream.h>

#include <condition_variable>
#include <mutex>

namespace muster::cuda {

/// A queue that no other lane of the process has. Torch's own pool hands its 32 out in turns, so
/// that a lane made later would share, and capture, the queue of one that is still at work. Queues
/// are kept and used again.
class OwnQueue {
 public:
  explicit OwnQueue(c10::DeviceIndex device);
  ~OwnQueue();
  OwnQueue(const OwnQueue&) = delete;
  OwnQueue& operator=(const OwnQueue&) = delete;

  c10::cuda::CUDAStream get() const;
  cudaStream_t raw() const { return stream_; }

 private:
  c10::DeviceIndex device_;
  cudaStream_t stream_ = nullptr;
};

/// Torch gives cached memory back only while nobody fills a pool: it asserts so, which would end
/// the process. So lanes fill theirs inside this gate, and who gives a pool up closes it: he waits
/// until all have left, and whoever comes meanwhile waits for him. Not for who is inside already.
class PoolGate {
 public:
  void enter();
  void leave();
  void lock();  ///< closes it
  void unlock();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int inside_ = 0;
  int closing_ = 0;  // who has it closed, and who waits to
  bool is_closed_ = false;
};
PoolGate& pool_gate();

/// While it lives, what `stream` allocates comes from the pool, whichever thread asks: backward
/// runs in a thread of torch's own.
class PoolScope {
 public:
  PoolScope(c10::DeviceIndex device, c10::MempoolId_t pool, cudaStream_t stream);
  ~PoolScope();
  PoolScope(const PoolScope&) = delete;
  PoolScope& operator=(const PoolScope&) = delete;

 private:
  c10::DeviceIndex device_;
  c10::MempoolId_t pool_;
};

/// One user of a pool's part on the host, for as long as the pool may be captured into: torch takes
/// no pool again whose last graph is gone.
class HostPoolUse {
 public:
  explicit HostPoolUse(c10::MempoolId_t pool);
  ~HostPoolUse();
  HostPoolUse(const HostPoolUse&) = delete;
  HostPoolUse& operator=(const HostPoolUse&) = delete;

 private:
  c10::MempoolId_t pool_;
};

/// A lane's generator stands for torch's default one. Only under the capture lock.
class GeneratorScope {
 public:
  GeneratorScope(const at::Generator& lane, c10::DeviceIndex device);
  ~GeneratorScope();
  GeneratorScope(const GeneratorScope&) = delete;
  GeneratorScope& operator=(const GeneratorScope&) = delete;

 private:
  at::Generator default_;
  at::Generator before_;
};

/// Torch keeps a workspace of cuBLAS (32 MiB) for every thread and queue it has seen, for ever, in
/// the pool of the lane that came first: there it would hold a segment of a pool that is gone, and
/// the next lane of the queue would seem to need that much less.
void give_up_workspaces(cudaStream_t queue);

/// Takes out of the allocators what a capture that could not be ended has left there: they would go
/// on asking a graph that is gone.
void forget_capture(c10::DeviceIndex device, c10::MempoolId_t pool) noexcept;

}  // namespace muster::cuda
