// How a CudaGpu fills its pools and captures graphs.
// SPDX-License-Identifier: Apache-2.0
#include <ATen/cuda/CUDAContextLight.h>
#include <ATen/cuda/CUDAGraph.h>
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <mutex>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/gpu/cuda/cuda_gpu.h"

namespace muster::cuda {
namespace {

/// Warm-up and capture of all lanes take turns: libraries make their handles and workspaces then,
/// and torch has one default generator.
std::mutex& capture_turn() {
  static std::mutex turn;
  return turn;
}

/// The line of torch's that names what happened; TorchScript puts a trace of the model before it.
std::string reason_of(const std::string& what) {
  constexpr std::string_view script = "\nRuntimeError: ";
  const std::size_t named = what.find(script);
  const std::size_t begin = named == std::string::npos ? 0 : named + script.size();
  return what.substr(begin, what.find('\n', begin) - begin);
}

}  // namespace

class CudaGpu::LaneScope final : public GpuScope {
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
class CudaGpu::ScratchScope final : public GpuScope {
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

class CudaGpu::Graph final : public GpuGraph {
 public:
  Graph(CudaGpu& gpu, std::unique_ptr<at::cuda::CUDAGraph> graph)
      : gpu_(gpu), graph_(std::move(graph)) {}
  void replay() override {
    const auto scope = gpu_.enter();
    graph_->replay();
  }

 private:
  CudaGpu& gpu_;
  std::unique_ptr<at::cuda::CUDAGraph> graph_;
};

void CudaGpu::fill(at::cuda::MemPool& pool) {
  filling_.reset();
  filling_ = std::make_unique<PoolScope>(device_, pool.id(), raw(Queue::compute));
}

std::unique_ptr<GpuScope> CudaGpu::enter() {
  return std::make_unique<LaneScope>(*this);
}

std::unique_ptr<GpuScope> CudaGpu::scratch() {
  return std::make_unique<ScratchScope>(*this);
}

void CudaGpu::warm(const std::function<void()>& body) {
  const auto inside = enter();  // before the turn: who waits at the gate must not have it
  const std::lock_guard turn(capture_turn());
  const GeneratorScope generator(generator_, device_);
  const auto meanwhile = scratch();
  body();
}

/// A graph begins with the generator's seeds; one that found no memory for them cannot even be
/// destroyed.
bool CudaGpu::has_room_for_seeds(std::string& why) const {
  try {
    at::empty({1}, at::TensorOptions().device(at::Device(at::kCUDA, device_)).dtype(at::kLong));
    return true;
  } catch (const c10::OutOfMemoryError&) {
    why = fmt::format("the GPU has no memory for one ({} bytes are free)", memory().free);
    return false;
  }
}

std::unique_ptr<GpuGraph> CudaGpu::capture(const std::function<void()>& body, std::string& why) {
  const auto scope = enter();
  const std::lock_guard turn(capture_turn());
  const GeneratorScope generator(generator_, device_);
  synchronise();
  filling_.reset();  // what a graph uses stays its own
  if (!has_room_for_seeds(why)) {
    fill(*pool_);
    if (has_company()) {
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
    why = reason_of(error.what());
    has_no_memory = dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr ||
                    why.find("unable to find an engine") != std::string::npos;  // for a convolution
    if (is_capturing) {
      try {
        graph->capture_end();
      } catch (const std::exception&) {  // the capture is broken, which is what we tell
      }
    }
    cuda::forget_capture(device_, graph_pool_->id());
    if (!has_begun) {  // for want of memory, say: its end would end the process, so it has none
      static_cast<void>(graph.release());
    }
    graph.reset();
    generator_ = at::cuda::detail::createCUDAGenerator(device_);  // the old one is still captured
    generator_.set_current_seed(key_);
    cudaGetLastError();
  }
  fill(*pool_);
  if (has_no_memory && has_company()) {  // one lane less beside it does more than to go without
    throw Error(Fault::io, why);
  }
  return graph ? std::make_unique<Graph>(*this, std::move(graph)) : nullptr;
}

}  // namespace muster::cuda
