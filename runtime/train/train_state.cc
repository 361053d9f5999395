// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/train_state.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/train/gpu_arena.h"

namespace muster {
namespace {

/// Sizes in the order of memory: largest stride first, so that the flat order of the arena is
/// row-major in them.
struct MemoryOrder {
  std::vector<std::uint64_t> shape;
  std::vector<std::uint8_t> axes;  // as in TensorSlice
};

MemoryOrder memory_order(const at::Tensor& tensor) {
  MemoryOrder order{.shape = {},
                    .axes = std::vector<std::uint8_t>(static_cast<std::size_t>(tensor.dim()))};
  std::iota(order.axes.begin(), order.axes.end(), std::uint8_t{0});
  std::ranges::stable_sort(order.axes, [&](std::uint8_t a, std::uint8_t b) {
    return tensor.strides()[a] > tensor.strides()[b];
  });
  for (const std::uint8_t dimension : order.axes) {
    order.shape.push_back(static_cast<std::uint64_t>(tensor.sizes()[dimension]));
  }
  if (order.shape.empty()) {
    order.shape.push_back(1);
  }
  if (std::ranges::is_sorted(order.axes)) {
    order.axes.clear();
  }
  return order;
}

void add_segment(StateTree& tree, const std::string& name, const Segment& segment,
                 const at::Tensor& tensor, std::span<float> flat, Range shard, bool replicated) {
  const Range range{std::clamp(shard.begin, segment.offset, segment.offset + segment.count),
                    std::clamp(shard.end, segment.offset, segment.offset + segment.count)};
  MemoryOrder order = memory_order(tensor);
  tree.add(TensorSlice{.name = name,
                       .dtype = DType::float32,
                       .shape = std::move(order.shape),
                       .axes = std::move(order.axes),
                       .first = range.begin - segment.offset,
                       .bytes = std::as_writable_bytes(flat.subspan(range.begin, range.count())),
                       .replicated = replicated,
                       .stability = Stability::step});
}

DType dtype_of_tensor(const at::Tensor& tensor, const std::string& name) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return DType::float32;
    case at::kDouble:
      return DType::float64;
    case at::kLong:
      return DType::int64;
    case at::kInt:
      return DType::int32;
    case at::kByte:
    case at::kBool:
      return DType::uint8;
    default:
      throw Error(Fault::bad_input,
                  "buffer '" + name +
                      "' has a type that no checkpoint holds; use float32, float64, int64 or bool");
  }
}

void add_buffer(StateTree& tree, const NamedTensor& buffer, Device device = {}) {
  const at::Tensor& tensor = buffer.tensor;
  if (!tensor.is_non_overlapping_and_dense()) {
    throw Error(Fault::bad_input, "buffer '" + buffer.name +
                                      "' is no dense tensor; make it contiguous() in the model");
  }
  MemoryOrder order = memory_order(tensor);
  tree.add(
      TensorSlice{.name = "model/" + buffer.name,
                  .dtype = dtype_of_tensor(tensor, buffer.name),
                  .shape = std::move(order.shape),
                  .axes = std::move(order.axes),
                  .bytes = {static_cast<std::byte*>(tensor.mutable_data_ptr()), tensor.nbytes()},
                  .replicated = true,
                  .stability = Stability::forward,
                  .device = device});
}

}  // namespace

void add_gpu_tensors(StateTree& tree, GpuArena& arena, const OptimizerRule& rule, Model& model,
                     Device device) {
  const auto add = [&](const std::string& name, std::size_t i, float* flat, Range range,
                       std::size_t flat_begin, bool replicated) {
    const Segment& segment = arena.table().segments()[i];
    const std::size_t begin =
        std::clamp(range.begin, segment.offset, segment.offset + segment.count);
    const std::size_t end = std::clamp(range.end, segment.offset, segment.offset + segment.count);
    MemoryOrder order = memory_order(arena.tensors()[i]);
    tree.add(TensorSlice{
        .name = name + segment.name,
        .dtype = DType::float32,
        .shape = std::move(order.shape),
        .axes = std::move(order.axes),
        .first = begin - segment.offset,
        .bytes = std::as_writable_bytes(
            std::span(begin < end ? flat + (begin - range.begin) + flat_begin : flat, end - begin)),
        .replicated = replicated,
        .stability = Stability::step,
        .device = device});
  };
  const bool is_shared = arena.shape().ranks > 1;
  const Range all{0, arena.table().capacity()};
  for (std::size_t i = 0; i < arena.tensors().size(); ++i) {
    add("model/", i, arena.parameters(), all, 0, is_shared);
  }
  const auto slots = rule.slot_names();
  for (std::size_t slot = 0; slot < slots.size(); ++slot) {
    for (std::size_t i = 0; i < arena.tensors().size(); ++i) {
      const Segment& segment = arena.table().segments()[i];
      std::size_t at = 0;
      for (std::size_t b = 0; b < arena.own().size(); ++b) {  // a slice a bucket, on every rank
        const Range whole = arena.shape().is_sharded ? arena.plan().buckets()[b] : all;
        if (whole.begin < segment.offset + segment.count && segment.offset < whole.end) {
          add("optimizer/" + slots[slot] + "/", i, arena.state(slot), arena.own()[b], at,
              is_shared && !arena.shape().is_sharded);
        }
        at += arena.own()[b].count();
      }
    }
  }
  for (const NamedTensor& buffer : model.buffers()) {
    add_buffer(tree, buffer, device);
  }
}

void TrainState::add_to(StateTree& tree) {
  tree.record("step", &step);
  tree.record("updates", &updates);
  tree.record("closed_step", &closed_step);
  tree.record("loss_sum", &loss_sum);
  tree.record("loss_samples", &loss_samples);
  tree.record("report_loss_sum", &report_loss_sum);
  tree.record("report_samples", &report_samples);
  tree.record("best", &best);
  tree.record("best_step", &best_step);
  tree.record("without_improvement", &without_improvement);
  tree.record("last_train_loss", &last_train_loss);
  tree.record("ended", &ended);
}

void add_tensors(StateTree& tree, Arena& arena, Range shard, const OptimizerRule& rule,
                 Model& model, bool replicated) {
  const auto& segments = arena.table().segments();
  for (std::size_t i = 0; i < segments.size(); ++i) {
    add_segment(tree, "model/" + segments[i].name, segments[i], arena.tensors()[i],
                arena.parameters(), shard, replicated);
  }
  const auto slots = rule.slot_names();
  for (std::size_t slot = 0; slot < slots.size(); ++slot) {
    for (std::size_t i = 0; i < segments.size(); ++i) {
      add_segment(tree, "optimizer/" + slots[slot] + "/" + segments[i].name, segments[i],
                  arena.tensors()[i], arena.state(slot), shard, replicated);
    }
  }
  for (const NamedTensor& buffer : model.buffers()) {
    add_buffer(tree, buffer);
  }
}

}  // namespace muster
