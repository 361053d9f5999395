// SPDX-License-Identifier: Apache-2.0
#include <ATen/ops/alias.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <optional>

#include "runtime/base/error.h"
#include "runtime/model/batch_norm.h"
#include "runtime/model/gpu_ops.h"
#include "runtime/model/gpu_shapes.h"

namespace muster::gpu_ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Blocks that add up rows: two for each multiprocessor of a large card, and not fewer than 64 rows
/// each.
std::uint64_t image_parts(std::uint64_t rows) {
  return std::clamp<std::uint64_t>(rows / 64, 1, 264);
}

class ImageNorm : public torch::autograd::Function<ImageNorm> {
 public:
  static variable_list forward(AutogradContext* context, const at::Tensor& x,
                               const std::optional<at::Tensor>& residual, const at::Tensor& weight,
                               const at::Tensor& bias, const ImageNormOptions& options) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const auto channels = static_cast<std::uint64_t>(x.size(1));
    const std::uint64_t rows = static_cast<std::uint64_t>(x.numel()) / channels;
    const std::uint64_t parts = image_parts(rows);
    at::Tensor y = at::empty_like(x);
    const at::Tensor other =
        residual ? with_channels_last(*residual, x.scalar_type()) : at::Tensor();
    const at::Tensor mean = at::empty_like(weight);
    const at::Tensor inverse = at::empty_like(weight);
    const at::Tensor partial =
        at::empty({static_cast<std::int64_t>(parts), 2, x.size(1)}, weight.options());
    options.gpu->run(
        ImageNormJob{.x = x.const_data_ptr(),
                     .residual = residual ? other.const_data_ptr() : nullptr,
                     .y = y.mutable_data_ptr(),
                     .type = type_of(x),
                     .weight = weight.const_data_ptr<float>(),
                     .bias = bias.const_data_ptr<float>(),
                     .running_mean = options.running_mean.mutable_data_ptr<float>(),
                     .running_variance = options.running_variance.mutable_data_ptr<float>(),
                     .momentum = static_cast<float>(options.momentum),
                     .mean = mean.mutable_data_ptr<float>(),
                     .inverse = inverse.mutable_data_ptr<float>(),
                     .partial = partial.mutable_data_ptr<float>(),
                     .parts = parts,
                     .rows = rows,
                     .channels = channels,
                     .epsilon = static_cast<float>(batch_norm_epsilon),
                     .rectifies = options.rectifies});
    context->save_for_backward({x, residual ? y : at::Tensor(), weight, bias, mean, inverse});
    context->saved_data["gpu"] = reinterpret_cast<std::int64_t>(options.gpu);
    context->saved_data["rectifies"] = options.rectifies;
    context->set_materialize_grads(false);  // of the second output there may be none
    return residual ? variable_list{y, y.alias()} : variable_list{y};
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor& x = saved[0];
    const bool adds = saved[1].defined();
    const auto channels = static_cast<std::uint64_t>(x.size(1));
    const std::uint64_t rows = static_cast<std::uint64_t>(x.numel()) / channels;
    const std::uint64_t parts = image_parts(rows);
    std::vector<at::Tensor> both;
    for (const at::Tensor& gradient : gradients) {
      if (gradient.defined()) {
        both.push_back(with_channels_last(gradient, x.scalar_type()));
      }
    }
    require(!both.empty(), "a gradient of what a batch norm gave");
    const at::Tensor to = at::empty_like(x);
    const at::Tensor residual_to = adds ? at::empty_like(x) : at::Tensor();
    const at::Tensor of_weight = at::empty_like(saved[2]);
    const at::Tensor of_bias = at::empty_like(saved[2]);
    const at::Tensor partial =
        at::empty({static_cast<std::int64_t>(parts), 2, x.size(1)}, saved[2].options());
    reinterpret_cast<Gpu*>(context->saved_data["gpu"].toInt())
        ->run(ImageNormBackwardJob{.gradient = both[0].const_data_ptr(),
                                   .other = both.size() > 1 ? both[1].const_data_ptr() : nullptr,
                                   .x = x.const_data_ptr(),
                                   .y = adds ? saved[1].const_data_ptr() : nullptr,
                                   .to = to.mutable_data_ptr(),
                                   .residual_to = adds ? residual_to.mutable_data_ptr() : nullptr,
                                   .type = type_of(x),
                                   .weight = saved[2].const_data_ptr<float>(),
                                   .bias = saved[3].const_data_ptr<float>(),
                                   .mean = saved[4].const_data_ptr<float>(),
                                   .inverse = saved[5].const_data_ptr<float>(),
                                   .weight_gradient = of_weight.mutable_data_ptr<float>(),
                                   .bias_gradient = of_bias.mutable_data_ptr<float>(),
                                   .partial = partial.mutable_data_ptr<float>(),
                                   .parts = parts,
                                   .rows = rows,
                                   .channels = channels,
                                   .rectifies = context->saved_data["rectifies"].toBool()});
    return {to, residual_to, of_weight, of_bias, at::Tensor()};
  }
};

}  // namespace

bool can_norm_images(const at::Tensor& x) {
  const std::int64_t rows = x.dim() == 4 ? x.numel() / std::max<std::int64_t>(1, x.size(1)) : 0;
  return rows > 1 && lies_whole(x);
}

std::pair<at::Tensor, at::Tensor> image_norm(const at::Tensor& x, const at::Tensor& residual,
                                             const at::Tensor& weight, const at::Tensor& bias,
                                             const ImageNormOptions& options) {
  require(!residual.defined() || residual.sizes() == x.sizes(), "what is added has the same shape");
  const auto outputs = ImageNorm::apply(
      x, residual.defined() ? std::optional(residual) : std::nullopt, weight, bias, options);
  return {outputs[0], residual.defined() ? outputs[1] : at::Tensor()};
}

}  // namespace muster::gpu_ops
