// A GpuProgram's gradients: the order in which they arrive, buckets, and the exchange.
// SPDX-License-Identifier: Apache-2.0
#include <ATen/ops/empty_strided.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <set>

#include "runtime/base/error.h"
#include "runtime/base/random.h"
#include "runtime/train/gpu_program.h"

namespace muster {
namespace {

/// A parameter used twice (tied) is one.
std::vector<NamedTensor> distinct(const std::vector<NamedTensor>& parameters) {
  std::vector<NamedTensor> kept;
  std::set<const void*> seen;
  for (const NamedTensor& parameter : parameters) {
    if (seen.insert(parameter.tensor.unsafeGetTensorImpl()).second) {
      kept.push_back(parameter);
    }
  }
  return kept;
}

}  // namespace

/// Tells the program that a parameter's gradient is there. Runs in the thread of the backward pass,
/// of which there is one for a GPU.
struct GpuProgram::Hook final : torch::autograd::PostAccumulateGradHook {
  Hook(GpuProgram& to, std::size_t number) : program(to), segment(number) {}
  void operator()(const at::Tensor& /*tensor*/) override { program.arrived(segment); }
  GpuProgram& program;
  std::size_t segment;
};

GpuProgram::~GpuProgram() {
  for (const at::Tensor& tensor : arena_->tensors()) {
    torch::autograd::impl::set_post_acc_grad_hooks(tensor, nullptr);
  }
}

void GpuProgram::move_parameters() {
  for (const NamedTensor& parameter : distinct(model_.parameters())) {
    at::Tensor(parameter.tensor).set_data(parameter.tensor.detach().to(torch_device(gpu_)));
  }
}

/// One pass over the first samples, of which only the order of the gradients is kept.
std::vector<std::size_t> GpuProgram::observe(const std::vector<NamedTensor>& parameters) {
  const SampleRange whole = input_.plan().of_step(0);
  const std::uint64_t own = input_.own_part(whole).count;
  seen_.clear();
  if (own > 0) {
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      at::Tensor(parameters[i].tensor).set_requires_grad(true);
      torch::autograd::impl::set_post_acc_grad_hooks(parameters[i].tensor,
                                                     std::make_unique<Hook>(*this, i));
    }
    observes_ = true;
    put_state({});
    prepare(whole.count);
    input_.prepare({0, 0});
    input_.load(state(), whole.count);
    const SampleRange part = part_of({0, own}, 0, options_.accumulate);
    gpu_.warm([&] { run_part(part, whole.count, 0); });
    observes_ = false;
    for (const NamedTensor& parameter : parameters) {
      torch::autograd::impl::set_post_acc_grad_hooks(parameter.tensor, nullptr);
      at::Tensor(parameter.tensor).mutable_grad().reset();
    }
    buffers_.put_back();
    gpu_.synchronise();
  }
  return seen_;
}

/// Every rank must cut the same buckets: rank 0's order, and a hash of what it orders.
std::vector<NamedTensor> GpuProgram::in_agreed_order() {
  const std::vector<NamedTensor> parameters = distinct(model_.parameters());
  std::vector<std::size_t> order = observe(parameters);
  for (std::size_t i = parameters.size(); i-- > 0;) {  // what got no gradient comes last
    if (std::ranges::find(order, i) == order.end()) {
      order.push_back(i);
    }
  }
  std::vector<std::int64_t> agreed(order.begin(), order.end());
  world_.broadcast(buffer_of(agreed.data(), agreed.size()), 0).wait();
  std::vector<NamedTensor> sorted;
  std::uint64_t hash = parameters.size();
  for (const std::int64_t index : agreed) {
    sorted.push_back(parameters.at(static_cast<std::size_t>(index)));
    hash = mix(hash, static_cast<std::uint64_t>(sorted.back().tensor.numel()),
               std::hash<std::string>{}(sorted.back().name));
  }
  std::array<std::int64_t, 2> both{static_cast<std::int64_t>(hash >> 1),
                                   -static_cast<std::int64_t>(hash >> 1)};
  world_.all_reduce(buffer_of(both.data(), both.size()), ReduceOp::max).wait();
  if (both[0] != -both[1]) {
    throw Error(Fault::bad_input,
                "the ranks have different models: their parameters differ in name, size or number");
  }
  return sorted;
}

void GpuProgram::watch_gradients() {
  for (std::size_t i = 0; i < arena_->tensors().size(); ++i) {
    torch::autograd::impl::set_post_acc_grad_hooks(arena_->tensors()[i],
                                                   std::make_unique<Hook>(*this, i));
  }
}

void GpuProgram::arrived(std::size_t segment) {
  if (observes_) {
    seen_.push_back(segment);
  } else if (exchanges_) {
    for (const std::size_t bucket : arena_->plan().arrived(segment)) {
      send(bucket);
    }
  }
}

PackPiece GpuProgram::piece(std::size_t segment, Range range) {
  const Segment& own = arena_->table().segments()[segment];
  const std::size_t begin = std::max(range.begin, own.offset);
  const std::size_t end = std::min(range.end, own.offset + own.count);
  const at::Tensor& tensor = arena_->tensors()[segment];
  at::Tensor gradient = tensor.grad();
  if (gradient.defined() && gradient.strides() != tensor.strides()) {
    gradient = at::empty_strided(tensor.sizes(), tensor.strides(), tensor.options());
    gradient.copy_(tensor.grad());
    kept_.push_back(gradient);
  }
  const float* from =
      gradient.defined() ? gradient.const_data_ptr<float>() + (begin - own.offset) : nullptr;
  return {.from = from, .offset = begin, .count = begin < end ? end - begin : 0};
}

void GpuProgram::send(std::size_t bucket) {
  const Range range = arena_->plan().buckets()[bucket];
  std::vector<PackPiece> pieces;
  for (std::size_t i = 0; i < arena_->tensors().size(); ++i) {
    const PackPiece one = piece(i, range);
    if (one.count > 0) {
      pieces.push_back(one);
    }
  }
  const bool is_all = parts_.device == nullptr && arena_->plan().buckets().size() == 1;
  if (is_all && pieces.size() <= PackNormJob::most_pieces) {
    last_pieces_ = std::move(pieces);  // packed by update()
    return;
  }
  gpu_.run(pack_of(pieces));
  if (parts_.device == nullptr) {
    return;
  }
  auto* first = static_cast<std::byte*>(arena_->gradients());
  const auto part_of_wire = [&](Range part) {
    return Buffer{.data = first + part.begin * size_of(options_.wire),
                  .count = part.count(),
                  .dtype = options_.wire,
                  .device = gpu_.device()};
  };
  if (arena_->shape().is_sharded) {
    const Range own = arena_->plan().part(bucket, arena_->shape().rank);
    works_.push_back(
        parts_.device->reduce_scatter(part_of_wire(range), part_of_wire(own), ReduceOp::sum));
  } else {
    works_.push_back(parts_.device->all_reduce(part_of_wire(range), ReduceOp::sum));
  }
}

PackJob GpuProgram::pack_of(std::span<const PackPiece> pieces) const {
  return {.pieces = pieces,
          .to = arena_->gradients(),
          .to_type = options_.wire,
          .add = adds_ ? arena_->sums() : nullptr};
}

void GpuProgram::sum_part(bool is_first) {
  std::vector<PackPiece> pieces;
  for (std::size_t i = 0; i < arena_->tensors().size(); ++i) {
    pieces.push_back(piece(i, {0, arena_->table().capacity()}));
  }
  gpu_.run(
      PackJob{.pieces = pieces, .to = arena_->sums(), .add = is_first ? nullptr : arena_->sums()});
  drop_gradients();
}

void GpuProgram::drop_gradients() {
  last_pieces_.clear();
  for (const at::Tensor& tensor : arena_->tensors()) {
    tensor.mutable_grad().reset();
  }
  kept_.clear();
}

void GpuProgram::end_backward() {
  for (const std::size_t bucket : arena_->plan().rest()) {
    send(bucket);
  }
  exchanges_ = false;
  wait_for_works();
}

void GpuProgram::wait_for_works() {
  for (Work& work : works_) {
    work.wait();
  }
  works_.clear();
}

/// The loss of all ranks; with ZeRO-1 each knows the squares of its own part alone.
void GpuProgram::agree_on_notes() {
  parts_.device
      ->all_reduce({.data = notes(),
                    .count = arena_->shape().is_sharded ? std::size_t{2} : std::size_t{1},
                    .dtype = DType::float64,
                    .device = gpu_.device()},
                   ReduceOp::sum)
      .wait();
}

void GpuProgram::bring_shards_together() {
  if (!arena_->shape().is_sharded) {
    return;
  }
  const auto floats = [&](Range range) {
    return Buffer{.data = arena_->parameters() + range.begin,
                  .count = range.count(),
                  .dtype = DType::float32,
                  .device = gpu_.device()};
  };
  for (std::size_t bucket = 0; bucket < arena_->plan().buckets().size(); ++bucket) {
    works_.push_back(
        parts_.device->all_gather(floats(arena_->plan().part(bucket, arena_->shape().rank)),
                                  floats(arena_->plan().buckets()[bucket])));
  }
  wait_for_works();
}

}  // namespace muster
