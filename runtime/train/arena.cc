// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/arena.h"

#include <ATen/ops/from_blob.h>

#include <cstring>
#include <set>

#include "runtime/base/error.h"

namespace muster {
namespace {

std::vector<NamedTensor> distinct(std::span<const NamedTensor> parameters) {
  std::vector<NamedTensor> kept;
  std::set<const void*> seen;
  for (const NamedTensor& parameter : parameters) {
    if (parameter.tensor.scalar_type() != at::kFloat || !parameter.tensor.device().is_cpu()) {
      throw Error(Fault::bad_input, "parameter '" + parameter.name + "' is " +
                                        std::string(parameter.tensor.toString()) +
                                        "; training keeps parameters as float32 (train.amp lowers "
                                        "the precision of the work, not theirs)");
    }
    if (seen.insert(parameter.tensor.unsafeGetTensorImpl()).second) {
      kept.push_back(parameter);
    }
  }
  if (kept.empty()) {
    throw Error(Fault::bad_input, "this model has no parameters to train");
  }
  return kept;
}

std::vector<NamedCount> counts_of(std::span<const NamedTensor> parameters) {
  std::vector<NamedCount> counts;
  for (const NamedTensor& parameter : parameters) {
    counts.push_back({parameter.name, static_cast<std::size_t>(parameter.tensor.numel())});
  }
  return counts;
}

std::span<float> floats(SharedMemory& memory) {
  auto bytes = memory.bytes();
  return {reinterpret_cast<float*>(bytes.data()), bytes.size() / sizeof(float)};
}

}  // namespace

Arena::Arena(std::span<const NamedTensor> parameters, NodeGroup& node, Communicator& across,
             const Shape& shape)
    : state_slots_(shape.state_slots) {
  const std::vector<NamedTensor> kept = distinct(parameters);
  table_ = SegmentTable(counts_of(kept), shape.parts, shape.alignment);
  for (const NamedTensor& parameter : kept) {
    tensors_.push_back(parameter.tensor);
  }
  parameter_memory_ = node.share(table_.capacity() * sizeof(float));
  if (state_slots_ > 0) {
    state_memory_ = node.share(table_.capacity() * state_slots_ * sizeof(float));
  }
  if (node.rank() == 0) {
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      // The flat order is that of memory, not of indices: a dense tensor of any strides is copied
      // as it lies.
      tensors_[i].set_data(tensors_[i].is_non_overlapping_and_dense()
                               ? tensors_[i].detach()
                               : tensors_[i].detach().contiguous());
      std::memcpy(this->parameters().data() + table_.segments()[i].offset,
                  tensors_[i].const_data_ptr(), table_.segments()[i].count * sizeof(float));
    }
    across.broadcast(buffer_of(this->parameters().data(), table_.capacity()), 0).wait();
  }
  node.barrier();
  point_at(this->parameters());
}

void Arena::place(std::size_t index, float* base, const std::shared_ptr<SharedMemory>& keep) {
  at::Tensor& tensor = tensors_[index];
  const at::Tensor dense =
      tensor.is_non_overlapping_and_dense() ? tensor.detach() : tensor.detach().contiguous();
  tensor.set_data(at::from_blob(
      base + table_.segments()[index].offset, dense.sizes(), dense.strides(),
      [keep](void* /*data*/) {}, dense.options()));
}

void Arena::point_at(std::span<float> base) {
  const auto& keep = base.data() == parameters().data() ? parameter_memory_ : state_memory_;
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    place(i, base.data(), keep);
  }
}

std::span<float> Arena::parameters() {
  return floats(*parameter_memory_).first(table_.capacity());
}

std::span<float> Arena::state(std::size_t slot) {
  require(slot < state_slots_, "the arena has that slot of state");
  return floats(*state_memory_).subspan(slot * table_.capacity(), table_.capacity());
}

}  // namespace muster
