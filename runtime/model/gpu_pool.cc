// SPDX-License-Identifier: Apache-2.0
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>

#include "runtime/model/gpu_bias.h"
#include "runtime/model/gpu_ops.h"
#include "runtime/model/gpu_shapes.h"

namespace muster::gpu_ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor images_like(const at::Tensor& like, at::IntArrayRef sizes, at::ScalarType type) {
  return at::empty(sizes, like.options().dtype(type), at::MemoryFormat::ChannelsLast);
}

/// Pixels as rows of channels: a view.
at::Tensor pixels_of(const at::Tensor& images) {
  return images.permute({0, 2, 3, 1}).reshape({-1, images.size(1)});
}

/// Without a bias the maximum alone.
class MaxPool : public torch::autograd::Function<MaxPool> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                            const std::optional<at::Tensor>& bias, std::int64_t side,
                            std::int64_t gpu) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const PoolShape shape{.images = count(x.size(0)),
                          .height = static_cast<std::uint32_t>(x.size(2)),
                          .width = static_cast<std::uint32_t>(x.size(3)),
                          .channels = static_cast<std::uint32_t>(x.size(1)),
                          .side = static_cast<std::uint32_t>(side)};
    const std::int64_t sizes[] = {x.size(0), x.size(1), shape.rows_out(),  // NOLINT: at's own type
                                  shape.columns_out()};
    at::Tensor y = images_like(x, sizes, x.scalar_type());
    const at::Tensor chosen = images_like(x, sizes, at::kByte);
    reinterpret_cast<Gpu*>(gpu)->run(PoolJob{.shape = shape,
                                             .x = x.const_data_ptr(),
                                             .bias = bias ? bias->const_data_ptr<float>() : nullptr,
                                             .y = y.mutable_data_ptr(),
                                             .chosen = chosen.mutable_data_ptr<std::uint8_t>(),
                                             .type = type_of(x)});
    context->save_for_backward({chosen, bias ? y : at::Tensor()});
    context->saved_data["side"] = side;
    context->saved_data["gpu"] = gpu;
    context->saved_data["height"] = x.size(2);
    context->saved_data["width"] = x.size(3);
    context->saved_data["type"] = static_cast<std::int64_t>(x.scalar_type());
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor& chosen = saved[0];
    const auto type = static_cast<at::ScalarType>(context->saved_data["type"].toInt());
    const std::int64_t height = context->saved_data["height"].toInt();
    const std::int64_t width = context->saved_data["width"].toInt();
    at::Tensor gradient = with_channels_last(gradients[0], type);
    at::Tensor of_bias;
    if (saved[1].defined()) {  // back through the rectifier, of as many values as came through
      const Back back =
          back_to_bias(context->saved_data["gpu"].toInt(), BiasBackwardJob::Kind::rectified,
                       {pixels_of(gradient)}, pixels_of(saved[1]));
      gradient = back.product;
      of_bias = back.bias;
    }
    const std::int64_t sizes[] = {chosen.size(0), chosen.size(1), height, width};  // NOLINT
    at::Tensor to = images_like(chosen, sizes, type);
    reinterpret_cast<Gpu*>(context->saved_data["gpu"].toInt())
        ->run(PoolBackwardJob{
            .shape = {.images = count(chosen.size(0)),
                      .height = static_cast<std::uint32_t>(height),
                      .width = static_cast<std::uint32_t>(width),
                      .channels = static_cast<std::uint32_t>(chosen.size(1)),
                      .side = static_cast<std::uint32_t>(context->saved_data["side"].toInt())},
            .gradient = gradient.const_data_ptr(),
            .chosen = chosen.const_data_ptr<std::uint8_t>(),
            .to = to.mutable_data_ptr(),
            .type = type_of(to)});
    return {to, of_bias, at::Tensor(), at::Tensor()};
  }
};

}  // namespace

bool can_pool(const at::Tensor& x) {
  return x.numel() > 0 && lies_whole(x);
}

at::Tensor max_pool(Gpu& gpu, const at::Tensor& x) {
  return MaxPool::apply(x, std::nullopt, 3, reinterpret_cast<std::int64_t>(&gpu));
}

at::Tensor relu_pool(Gpu& gpu, const at::Tensor& x, const at::Tensor& bias) {
  return MaxPool::apply(x, std::optional(bias), 2, reinterpret_cast<std::int64_t>(&gpu));
}

}  // namespace muster::gpu_ops
