// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/gpu_arena.h"

#include <ATen/ops/empty_strided.h>
#include <ATen/ops/from_blob.h>

#include <cstring>

#include "runtime/base/error.h"

namespace muster {
namespace {

std::vector<NamedCount> float_counts(std::span<const NamedTensor> parameters) {
  std::vector<NamedCount> counts;
  for (const NamedTensor& parameter : parameters) {
    if (parameter.tensor.scalar_type() != at::kFloat) {
      throw Error(Fault::bad_input, "parameter '" + parameter.name + "' is " +
                                        std::string(parameter.tensor.toString()) +
                                        "; training keeps parameters as float32 (train.amp lowers "
                                        "the precision of the work, not theirs)");
    }
    counts.push_back({parameter.name, static_cast<std::size_t>(parameter.tensor.numel())});
  }
  if (counts.empty()) {
    throw Error(Fault::bad_input, "this model has no parameters to train");
  }
  return counts;
}

}  // namespace

at::Tensor dense(const at::Tensor& tensor) {
  return tensor.is_non_overlapping_and_dense() ? tensor.detach() : tensor.detach().contiguous();
}

c10::Device torch_device(const Gpu& gpu) {
  const Device device = gpu.device();
  return device.kind == Device::Kind::cpu
             ? c10::Device(at::kCPU)
             : c10::Device(at::kCUDA, static_cast<c10::DeviceIndex>(device.index));
}

at::ScalarType torch_type(DType type) {
  switch (type) {
    case DType::float64:
      return at::kDouble;
    case DType::float16:
      return at::kHalf;
    case DType::bfloat16:
      return at::kBFloat16;
    case DType::int32:
      return at::kInt;
    case DType::int64:
      return at::kLong;
    case DType::uint8:
      return at::kByte;
    default:
      return at::kFloat;
  }
}

at::Tensor tensor_on(const Gpu& gpu, const std::shared_ptr<std::byte>& memory, void* data,
                     at::IntArrayRef sizes, at::IntArrayRef strides, DType type) {
  return at::from_blob(
      data, sizes, strides, [memory](void* /*data*/) {},
      at::TensorOptions().dtype(torch_type(type)).device(torch_device(gpu)), torch_device(gpu));
}

GpuArena::GpuArena(Gpu& gpu, std::span<const NamedTensor> parameters, const Shape& shape,
                   const GroupRules& rules, Communicator* device)
    : shape_(shape), table_(float_counts(parameters), shape.ranks, BucketPlan::alignment) {
  table_.apply(rules);
  for (const NamedTensor& parameter : parameters) {
    tensors_.push_back(parameter.tensor);
  }
  plan_ =
      std::make_unique<BucketPlan>(table_, shape.bucket_bytes, size_of(shape.wire), shape.ranks);
  own_ = own_ranges(*plan_, table_.capacity(), shape.rank, shape.is_sharded);
  parameters_ = gpu.allocate(table_.capacity() * sizeof(float));
  gradients_ = gpu.allocate(table_.capacity() * size_of(shape.wire));
  if (shape.state_slots > 0) {
    state_ = gpu.allocate(own_count() * shape.state_slots * sizeof(float));
  }
  if (shape.accumulates) {
    sums_ = gpu.allocate(table_.capacity() * sizeof(float));
  }
  fill(gpu);
  put_chunks(gpu);
  if (device != nullptr) {
    device
        ->broadcast(
            {.data = this->parameters(), .count = table_.capacity(), .device = gpu.device()}, 0)
        .wait();
  }
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    tensors_[i].set_requires_grad(!table_.segments()[i].frozen);
  }
}

std::size_t GpuArena::own_count() const {
  std::size_t count = 0;
  for (const Range& range : own_) {
    count += range.count();
  }
  return count;
}

float* GpuArena::state(std::size_t slot) {
  require(slot < shape_.state_slots, "the arena has that slot of state");
  return reinterpret_cast<float*>(state_.get()) + slot * own_count();
}

std::uint64_t GpuArena::bytes() const {
  const std::uint64_t floats =
      table_.capacity() * (shape_.accumulates ? 2 : 1) + own_count() * shape_.state_slots;
  return floats * sizeof(float) + table_.capacity() * size_of(shape_.wire);
}

void GpuArena::fill(Gpu& gpu) {
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const at::Tensor source = dense(tensors_[i]);
    gpu.copy(parameters() + table_.segments()[i].offset, source.const_data_ptr(),
             table_.segments()[i].count * sizeof(float), Gpu::Queue::compute);
    tensors_[i].set_data(source);
  }
  gpu.synchronise();  // the sources go
  point_home(gpu);
}

void GpuArena::put_chunks(Gpu& gpu) {
  const std::vector<Chunk> chunks = chunks_of(table_, own_);
  chunk_count_ = chunks.size();
  chunks_ = gpu.allocate(std::max<std::size_t>(1, chunks.size()) * sizeof(Chunk));
  gpu.copy(chunks_.get(), chunks.data(), chunks.size() * sizeof(Chunk), Gpu::Queue::compute);
  gpu.synchronise();
}

void GpuArena::point_at(const Gpu& gpu, float* base, const std::shared_ptr<std::byte>& keep) {
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const at::Tensor shape = dense(tensors_[i]);
    tensors_[i].set_data(tensor_on(gpu, keep, base + table_.segments()[i].offset, shape.sizes(),
                                   shape.strides(), DType::float32));
  }
}

void GpuArena::on_host(Gpu& gpu, std::span<const NamedTensor> buffers, const float* values,
                       const std::function<void()>& body) {
  std::vector<float> flat(table_.capacity());
  auto scope = gpu.enter();
  gpu.copy(flat.data(), values, flat.size() * sizeof(float), Gpu::Queue::compute);
  gpu.synchronise();
  std::vector<at::Tensor> before;
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const at::Tensor shape = dense(tensors_[i]);
    tensors_[i].set_data(at::from_blob(flat.data() + table_.segments()[i].offset, shape.sizes(),
                                       shape.strides(), at::dtype(at::kFloat)));
  }
  for (const NamedTensor& buffer : buffers) {
    before.push_back(buffer.tensor.detach());
    at::Tensor(buffer.tensor).set_data(buffer.tensor.detach().to(at::kCPU));
  }
  scope.reset();  // other lanes need not wait for what is done on the host
  const auto back = [&] {
    point_home(gpu);
    for (std::size_t i = 0; i < before.size(); ++i) {
      at::Tensor(buffers[i].tensor).set_data(before[i]);
    }
  };
  try {
    body();
  } catch (...) {
    back();
    throw;
  }
  back();
}

}  // namespace muster
