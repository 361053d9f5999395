/// Gpu: one lane of work on a GPU: a compute queue, a copy queue, a memory pool of its own, our
/// kernels, and graphs. A rank has one; a worker has one for each trial. The CUDA half is a module
/// that open_gpus() opens only where there is a driver; host_gpu() stands in for it in tests, with
/// tensors on the CPU. One thread at a time, but for what says otherwise.
///
/// Work is queued and the host goes on. Work of one queue runs in order; between queues only events
/// order it. Torch's own work of a thread goes to the compute queue while enter()'s scope lives.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "runtime/comm/buffer.h"
#include "runtime/gpu/jobs.h"

namespace muster {

/// A place in a queue: done when all that was queued before it is. Copies are one place.
class GpuMark {
 public:
  virtual ~GpuMark() = default;
  virtual bool is_done() = 0;  ///< any thread
  virtual void wait() = 0;     ///< blocks the host; any thread
};
using GpuEvent = std::shared_ptr<GpuMark>;

/// A captured piece of the compute queue's work.
class GpuGraph {
 public:
  virtual ~GpuGraph() = default;
  virtual void replay() = 0;  ///< queues it
};

/// What enter() gives: torch's work of this thread is the lane's until it goes.
class GpuScope {
 public:
  virtual ~GpuScope() = default;
};

struct GpuMemory {
  std::uint64_t free = 0;  ///< as the driver says, whoever took the rest
  std::uint64_t total = 0;
};

class Gpu {
 public:
  enum class Queue : std::uint8_t { compute, copy };
  virtual ~Gpu() = default;

  virtual std::string name() const = 0;    ///< "NVIDIA H200 at 0000:4a:00.0"
  virtual Device device() const = 0;       ///< where tensors are made
  virtual GpuMemory memory() const = 0;    ///< any thread
  virtual std::uint64_t lane_bytes() = 0;  ///< the most that this lane's pool and arena have taken
  /// The queue as CUDA names it (cudaStream_t), for NCCL; null on the stand-in.
  virtual void* stream(Queue queue) = 0;

  /// Zeroed memory of the GPU, for whichever queue, 512-byte aligned; goes when the last owner
  /// does. Throws out of memory as Error(io) with what was asked and what is free.
  virtual std::shared_ptr<std::byte> allocate(std::size_t bytes) = 0;
  /// The same for what several lanes use: of no lane's pool, and not in lane_bytes().
  virtual std::shared_ptr<std::byte> allocate_shared(std::size_t bytes) = 0;
  /// Memory of the host that the GPU reads and writes, zeroed.
  virtual std::shared_ptr<std::byte> allocate_pinned(std::size_t bytes) = 0;

  virtual void copy(void* to, const void* from, std::size_t bytes, Queue queue) = 0;
  virtual GpuEvent record(Queue queue) = 0;
  virtual void wait(Queue queue, const GpuEvent& event) = 0;  ///< the queue waits, not the host
  virtual void synchronise() = 0;                             ///< the host waits for both queues

  // Our kernels, on the compute queue.
  virtual void run(const PackJob& job) = 0;
  virtual void run(const NormJob& job) = 0;
  virtual void run(const DecideJob& job) = 0;
  virtual void run(const UpdateJob& job) = 0;
  virtual void run(const OrderJob& job) = 0;
  virtual void run(const GatherJob& job) = 0;
  virtual void run(const CrossEntropyJob& job) = 0;
  virtual void run(const AddNormJob& job) = 0;
  virtual void run(const AddNormBackwardJob& job) = 0;
  virtual void run(const ImageNormJob& job) = 0;
  virtual void run(const ImageNormBackwardJob& job) = 0;
  virtual void run(const DropoutJob& job) = 0;
  virtual void run(const PackNormJob& job) = 0;
  virtual void run(const BiasBackwardJob& job) = 0;
  virtual void run(const PoolJob& job) = 0;
  virtual void run(const PoolBackwardJob& job) = 0;
  virtual void run(const GeluJob& job) = 0;

  /// Where the random numbers begin that torch's own operations of warm() and of the next graph
  /// draw; outside captures.
  virtual void seed(std::uint64_t key) = 0;
  virtual std::unique_ptr<GpuScope> enter() = 0;
  /// Inside enter(): what is allocated while it lives is done with before a graph is next played,
  /// so that it may lie where graphs have theirs. Without it a lane would need room for both.
  virtual std::unique_ptr<GpuScope> scratch() = 0;
  /// Records what `body` queues, without running it; `body` must not look at results. Null where it
  /// cannot be captured, with the reason in `why`; then nothing was queued. Captures of a process
  /// take turns, and so does warm-up inside warm().
  virtual std::unique_ptr<GpuGraph> capture(const std::function<void()>& body,
                                            std::string& why) = 0;
  /// Runs `body` while no other lane of the process captures, on scratch memory.
  virtual void warm(const std::function<void()>& body) = 0;
};

/// The GPUs of this process.
class Gpus {
 public:
  virtual ~Gpus() = default;
  virtual int count() const = 0;
  virtual std::unique_ptr<Gpu> lane(int index) = 0;
};

}  // namespace muster
