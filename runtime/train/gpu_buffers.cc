// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/gpu_buffers.h"

#include <ATen/ops/from_blob.h>

#include <vector>

#include "runtime/train/gpu_arena.h"

namespace muster {
namespace {

constexpr std::size_t buffer_line = 64;  // where each begins, as parameters do

}  // namespace

GpuBuffers::GpuBuffers(Gpu& gpu, std::span<const NamedTensor> buffers) : gpu_(gpu) {
  std::vector<at::Tensor> sources;
  std::vector<std::size_t> places;
  for (const NamedTensor& buffer : buffers) {
    sources.push_back(dense(buffer.tensor));
    places.push_back(bytes_);
    bytes_ += (sources.back().nbytes() + buffer_line - 1) / buffer_line * buffer_line;
  }
  if (bytes_ == 0) {
    return;
  }
  memory_ = gpu.allocate(2 * bytes_);
  for (std::size_t i = 0; i < sources.size(); ++i) {
    gpu.copy(memory_.get() + places[i], sources[i].const_data_ptr(), sources[i].nbytes(),
             Gpu::Queue::compute);
  }
  gpu.synchronise();  // the sources go
  for (std::size_t i = 0; i < sources.size(); ++i) {
    at::Tensor(buffers[i].tensor)
        .set_data(at::from_blob(
            memory_.get() + places[i], sources[i].sizes(), sources[i].strides(),
            [memory = memory_](void* /*data*/) {}, sources[i].options().device(torch_device(gpu)),
            torch_device(gpu)));
  }
  keep();
}

void GpuBuffers::keep() {
  if (bytes_ > 0) {
    gpu_.copy(kept(), memory_.get(), bytes_, Gpu::Queue::compute);
  }
}

void GpuBuffers::put_back() {
  if (bytes_ > 0) {
    gpu_.copy(memory_.get(), kept(), bytes_, Gpu::Queue::compute);
  }
}

void GpuBuffers::add_to(UpdateJob& job) const {
  job.moved = reinterpret_cast<std::uint32_t*>(memory_.get());
  job.kept = reinterpret_cast<std::uint32_t*>(kept());
  job.moved_count = bytes_ / sizeof(std::uint32_t);
}

}  // namespace muster
