// SPDX-License-Identifier: Apache-2.0
#include "runtime/gpu/cuda/cuda_gpu.h"

#include <ATen/cuda/CUDAContextLight.h>
#include <ATen/cuda/CUDAGeneratorImpl.h>
#include <ATen/cuda/CUDAGraph.h>
#include <ATen/cuda/MemPool.h>
#include <ATen/ops/empty.h>
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
#include "runtime/base/log.h"
#include "runtime/gpu/cuda/check.h"
#include "runtime/gpu/cuda/lane_memory.h"
#include "runtime/gpu/cuda/launch.h"

namespace muster::cuda {
namespace {

namespace allocator = c10::cuda::CUDACachingAllocator;

/// Warm-up and capture of all lanes take turns: libraries make their handles and workspaces then,
/// and torch has one default generator.
std::mutex& capture_turn() {
  static std::mutex turn;
  return turn;
}

/// Lanes of the process. A lane alone waits on its core; several would take cores from each other,
/// so their threads sleep.
std::atomic<int> lane_count = 0;

/// The line of torch's that names what happened; TorchScript puts a trace of the model before it.
std::string reason_of(const std::string& what) {
  constexpr std::string_view script = "\nRuntimeError: ";
  const std::size_t named = what.find(script);
  const std::size_t begin = named == std::string::npos ? 0 : named + script.size();
  return what.substr(begin, what.find('\n', begin) - begin);
}

class Event final : public GpuMark {
 public:
  explicit Event(cudaStream_t stream) {
    const unsigned sleeps = lane_count > 1 ? cudaEventBlockingSync : cudaEventDefault;
    check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming | sleeps), "cudaEventCreate");
    check(cudaEventRecord(event_, stream), "cudaEventRecord");
  }
  ~Event() override { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  bool is_done() override {
    const cudaError_t state = cudaEventQuery(event_);
    if (state != cudaErrorNotReady) {
      check(state, "a GPU kernel or copy");
    }
    return state == cudaSuccess;
  }
  void wait() override { check(cudaEventSynchronize(event_), "a GPU kernel or copy"); }
  cudaEvent_t raw() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

class CudaGpu;

class Graph final : public GpuGraph {
 public:
  Graph(CudaGpu& gpu, std::unique_ptr<at::cuda::CUDAGraph> graph)
      : gpu_(gpu), graph_(std::move(graph)) {}
  void replay() override;

 private:
  CudaGpu& gpu_;
  std::unique_ptr<at::cuda::CUDAGraph> graph_;
};

class CudaGpu final : public Gpu {
 public:
  explicit CudaGpu(int index)
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
  ~CudaGpu() override {
    --lane_count;
    try {
      synchronise();
    } catch (const std::exception&) {  // told where it was met; nothing can be given back
      static_cast<void>(pool_.release());
      static_cast<void>(graph_pool_.release());
      return;
    }
    const std::lock_guard closed(pool_gate());
    host_pool_.reset();
    pool_.reset();
    graph_pool_.reset();
  }

  std::string name() const override { return at::cuda::getDeviceProperties(device_)->name; }
  Device device() const override { return {Device::Kind::cuda, device_}; }
  GpuMemory memory() const override {
    const c10::cuda::CUDAGuard guard(device_);
    std::size_t free = 0;
    std::size_t total = 0;
    check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    return {free, total};
  }
  std::uint64_t lane_bytes() override {
    std::uint64_t bytes = 0;
    for (const auto* pool : {pool_.get(), graph_pool_.get()}) {
      for (const auto& segment :
           allocator::snapshot(const_cast<at::cuda::MemPool*>(pool)->id(), false).segments) {
        bytes += segment.total_size;
      }
    }
    most_bytes_ = std::max(most_bytes_, bytes);
    return most_bytes_;
  }
  void* stream(Queue queue) override { return raw(queue); }
  cudaStream_t raw(Queue queue) const { return (queue == Queue::copy ? copy_ : compute_).raw(); }

  std::shared_ptr<std::byte> allocate(std::size_t bytes) override {
    const auto scope = enter();
    void* data = allocate_raw(std::max<std::size_t>(bytes, 512));
    std::shared_ptr<std::byte> memory{static_cast<std::byte*>(data),
                                      [](std::byte* gone) { allocator::raw_delete(gone); }};
    make_zero(data, bytes);
    return memory;
  }
  std::shared_ptr<std::byte> allocate_shared(std::size_t bytes) override {
    const c10::cuda::CUDAGuard guard(device_);
    void* data = nullptr;
    const cudaError_t error = cudaMalloc(&data, std::max<std::size_t>(bytes, 512));
    if (error == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      throw_out_of_memory(bytes);
    }
    check(error, "cudaMalloc");
    std::shared_ptr<std::byte> memory{static_cast<std::byte*>(data),
                                      [](std::byte* gone) { cudaFree(gone); }};
    make_zero(data, bytes);
    return memory;
  }
  std::shared_ptr<std::byte> allocate_pinned(std::size_t bytes) override {
    const c10::cuda::CUDAGuard guard(device_);
    void* data = nullptr;
    check(cudaHostAlloc(&data, std::max<std::size_t>(bytes, 1), cudaHostAllocDefault),
          "cudaHostAlloc");
    std::memset(data, 0, bytes);
    return {static_cast<std::byte*>(data), [](std::byte* memory) { cudaFreeHost(memory); }};
  }

  void copy(void* to, const void* from, std::size_t bytes, Queue queue) override {
    const c10::cuda::CUDAGuard guard(device_);
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, raw(queue)), "cudaMemcpyAsync");
  }
  GpuEvent record(Queue queue) override {
    const c10::cuda::CUDAGuard guard(device_);
    return std::make_shared<Event>(raw(queue));
  }
  void wait(Queue queue, const GpuEvent& event) override {
    check(cudaStreamWaitEvent(raw(queue), static_cast<Event&>(*event).raw(), 0),
          "cudaStreamWaitEvent");
  }
  void synchronise() override {
    const c10::cuda::CUDAGuard guard(device_);
    check(cudaStreamSynchronize(raw(Queue::compute)), "the GPU's work");
    check(cudaStreamSynchronize(raw(Queue::copy)), "the GPU's copies");
  }

  void run(const PackJob& job) override { queue("the pack kernel", job); }
  void run(const NormJob& job) override { queue("the norm kernel", job); }
  void run(const DecideJob& job) override { queue("the decide kernel", job); }
  void run(const UpdateJob& job) override { queue("the update kernel", job); }
  void run(const OrderJob& job) override { queue("the order kernel", job); }
  void run(const GatherJob& job) override { queue("the gather kernel", job); }
  void run(const CrossEntropyJob& job) override { queue("the cross-entropy kernel", job); }
  void run(const AddNormJob& job) override { queue("the layer-norm kernel", job); }
  void run(const AddNormBackwardJob& job) override { queue("the layer-norm gradient", job); }
  void run(const ImageNormJob& job) override { queue("the batch-norm kernels", job); }
  void run(const ImageNormBackwardJob& job) override { queue("the batch-norm gradient", job); }
  void run(const PackNormJob& job) override { queue("the pack and norm kernel", job); }
  void run(const RectifiedBackwardJob& job) override { queue("the rectifier's gradient", job); }
  void run(const DropoutJob& job) override { queue("the dropout kernel", job); }

  void seed(std::uint64_t key) override {
    key_ = key;
    generator_.set_current_seed(key);
  }
  std::unique_ptr<GpuScope> enter() override;
  std::unique_ptr<GpuScope> scratch() override;
  std::unique_ptr<GpuGraph> capture(const std::function<void()>& body, std::string& why) override;
  void warm(const std::function<void()>& body) override {
    const auto inside = enter();  // before the turn: who waits at the gate must not have it
    const std::lock_guard turn(capture_turn());
    const GeneratorScope generator(generator_, device_);
    const auto meanwhile = scratch();
    body();
  }

 private:
  friend class LaneScope;
  friend class ScratchScope;
  /// A graph begins with the generator's seeds; one that found no memory for them cannot even be
  /// destroyed.
  bool has_room_for_seeds(std::string& why) const {
    try {
      at::empty({1}, at::TensorOptions().device(at::Device(at::kCUDA, device_)).dtype(at::kLong));
      return true;
    } catch (const c10::OutOfMemoryError&) {
      why = fmt::format("the GPU has no memory for one ({} bytes are free)", memory().free);
      return false;
    }
  }
  void fill(at::cuda::MemPool& pool) {
    filling_.reset();
    filling_ = std::make_unique<PoolScope>(device_, pool.id(), raw(Queue::compute));
  }
  void* allocate_raw(std::size_t bytes) {
    try {
      return allocator::raw_alloc_with_stream(bytes, raw(Queue::compute));
    } catch (const c10::OutOfMemoryError&) {
      throw_out_of_memory(bytes);
    }
  }
  void make_zero(void* data, std::size_t bytes) {
    check(cudaMemsetAsync(data, 0, bytes, raw(Queue::compute)), "cudaMemset");
    check(cudaStreamSynchronize(raw(Queue::compute)), "cudaMemset");  // before any other queue's
  }
  [[noreturn]] void throw_out_of_memory(std::size_t bytes) const {
    const GpuMemory now = memory();
    throw Error(
        Fault::io,
        fmt::format("out of memory on the GPU: {} bytes asked for, {} of {} free; a smaller "
                    "train.batch_size or model needs less",
                    bytes, now.free, now.total));
  }
  template <class Job>
  void queue(const char* what, const Job& job) {
    launch(job, raw(Queue::compute));
    check(cudaPeekAtLastError(), what);
  }

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

class LaneScope final : public GpuScope {
 public:
  explicit LaneScope(CudaGpu& gpu) : gpu_(gpu), guard_(gpu.compute_.get()) {
    if (gpu_.inside_++ == 0) {
      pool_gate().enter();
      gpu_.fill(*gpu_.pool_);
    }
  }
  ~LaneScope() override {
    if (--gpu_.inside_ == 0) {
      gpu_.filling_.reset();
      pool_gate().leave();
    }
  }
  LaneScope(const LaneScope&) = delete;
  LaneScope& operator=(const LaneScope&) = delete;

 private:
  CudaGpu& gpu_;
  c10::cuda::CUDAStreamGuard guard_;
};

/// The pool that was filled before is filled again after.
class ScratchScope final : public GpuScope {
 public:
  explicit ScratchScope(CudaGpu& gpu) : gpu_(gpu) {
    require(gpu_.inside_ > 0, "scratch memory is for who is inside a lane");
    gpu_.fill(*gpu_.graph_pool_);
  }
  ~ScratchScope() override { gpu_.fill(*gpu_.pool_); }
  ScratchScope(const ScratchScope&) = delete;
  ScratchScope& operator=(const ScratchScope&) = delete;

 private:
  CudaGpu& gpu_;
};

std::unique_ptr<GpuScope> CudaGpu::scratch() {
  return std::make_unique<ScratchScope>(*this);
}

std::unique_ptr<GpuScope> CudaGpu::enter() {
  return std::make_unique<LaneScope>(*this);
}

void Graph::replay() {
  const auto scope = gpu_.enter();
  graph_->replay();
}

std::unique_ptr<GpuGraph> CudaGpu::capture(const std::function<void()>& body, std::string& why) {
  const auto scope = enter();
  const std::lock_guard turn(capture_turn());
  const GeneratorScope generator(generator_, device_);
  synchronise();
  filling_.reset();  // what a graph uses stays its own
  if (!has_room_for_seeds(why)) {
    fill(*pool_);
    if (lane_count > 1) {
      throw Error(Fault::io, "out of memory on the GPU for a graph: " + why);
    }
    return nullptr;
  }
  auto graph = std::make_unique<at::cuda::CUDAGraph>();
  bool has_no_memory = false;
  bool has_begun = false;
  bool is_capturing = false;
  try {
    graph->capture_begin(graph_pool_->id(), cudaStreamCaptureModeThreadLocal);
    has_begun = is_capturing = true;
    body();
    is_capturing = false;
    graph->capture_end();
    why.clear();
  } catch (const std::exception& error) {
    has_no_memory = dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr;
    why = reason_of(error.what());
    if (is_capturing) {
      try {
        graph->capture_end();
      } catch (const std::exception&) {  // the capture is broken, which is what we tell
      }
    }
    forget_capture(device_, graph_pool_->id());
    if (!has_begun) {  // for want of memory, say: its end would end the process, so it has none
      static_cast<void>(graph.release());
    }
    graph.reset();
    generator_ = at::cuda::detail::createCUDAGenerator(device_);  // the old one is still captured
    generator_.set_current_seed(key_);
    cudaGetLastError();
  }
  fill(*pool_);
  if (has_no_memory && lane_count > 1) {  // one lane less beside it does more than to go without
    throw Error(Fault::io, why);
  }
  return graph ? std::make_unique<Graph>(*this, std::move(graph)) : nullptr;
}

}  // namespace

std::unique_ptr<Gpu> make_lane(int index) {
  return std::make_unique<CudaGpu>(index);
}

}  // namespace muster::cuda
