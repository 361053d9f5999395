// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/gradients.h"

#include <ATen/ops/empty_strided.h>

#include "runtime/base/error.h"

namespace muster {
namespace {

std::vector<std::size_t> gradient_bytes(const Arena& arena, std::size_t lanes) {
  std::vector<std::size_t> bytes;
  for (std::size_t lane = 0; lane < lanes; ++lane) {
    for (const Segment& segment : arena.table().segments()) {
      if (!segment.frozen) {
        bytes.push_back(segment.count * sizeof(float));
      }
    }
  }
  return bytes;
}

std::size_t whole_pages(std::size_t bytes) {
  return (bytes + 4095) / 4096 * 4096;
}

}  // namespace

Gradients::Gradients(NodeGroup& node, Arena& arena, std::size_t lanes_per_rank) : arena_(arena) {
  const auto bytes = gradient_bytes(arena, lanes_per_rank);
  window_bytes_ = whole_pages(GradientPool::window_bytes(bytes));
  memory_ = node.share(window_bytes_ * static_cast<std::size_t>(node.size()));
  const auto window = memory_->bytes().subspan(
      window_bytes_ * static_cast<std::size_t>(node.rank()), window_bytes_);
  pool_ = std::make_unique<GradientPool>(memory_, window, bytes);
}

at::Tensor Gradients::in_window(const at::Tensor& gradient, const at::Tensor& parameter) {
  const bool fits = gradient.strides() == parameter.strides() &&
                    gradient.scalar_type() == at::kFloat && gradient.layout() == at::kStrided &&
                    pool_->offset_of(gradient.const_data_ptr());
  if (fits) {
    return gradient;
  }
  ++copied_;
  const GradientPool::Entered entered(*pool_);
  const GradientPool::Backward backward(*pool_);
  at::Tensor copy = at::empty_strided(parameter.sizes(), parameter.strides(), parameter.options());
  copy.copy_(gradient.layout() == at::kStrided ? gradient : gradient.to_dense());
  require(pool_->offset_of(copy.const_data_ptr()).has_value(),
          "the gradient window has room for every gradient");
  return copy;
}

void Gradients::hold(StepBoard& board, std::size_t lane) {
  auto places = board.places(lane);
  const auto tensors = arena_.tensors();
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    at::Tensor& slot = tensors[i].mutable_grad();
    if (!slot.defined() || arena_.table().segments()[i].frozen) {
      slot.reset();
      places[i] = StepBoard::no_gradient;
      continue;
    }
    held_.push_back(in_window(slot, tensors[i]));
    slot.reset();
    places[i] = static_cast<std::int64_t>(*pool_->offset_of(held_.back().const_data_ptr()));
  }
}

const float* Gradients::at(StepBoard& board, std::size_t lane, std::size_t owner,
                           std::size_t segment) const {
  const std::int64_t place = board.places(lane)[segment];
  if (place == StepBoard::no_gradient) {
    return nullptr;
  }
  return reinterpret_cast<const float*>(memory_->bytes().data() + owner * window_bytes_ +
                                        static_cast<std::size_t>(place));
}

}  // namespace muster
