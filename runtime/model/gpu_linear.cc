// Products with a weight, made so that what follows them on the way back costs no pass of its own.
// SPDX-License-Identifier: Apache-2.0
#include <ATen/TensorOperators.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_addmm_activation.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "runtime/model/gpu_ops.h"

namespace muster::gpu_ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// What a product with `x` is made in.
at::ScalarType type_of_product(const at::Tensor& x) {
  const auto device = x.device().type();
  return at::autocast::is_autocast_enabled(device) ? at::autocast::get_autocast_dtype(device)
                                                   : x.scalar_type();
}

class LinearRelu : public torch::autograd::Function<LinearRelu> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& bias, std::int64_t gpu) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const at::ScalarType type = type_of_product(x);
    const at::Tensor input = x.to(type).contiguous();
    const at::Tensor matrix = weight.to(type);
    const at::Tensor y =
        at::_addmm_activation(bias.to(type), input, matrix.t(), 1, 1, /*use_gelu=*/false);
    context->save_for_backward({input, matrix, y});
    context->saved_data["gpu"] = gpu;
    context->saved_data["leads_on"] = x.requires_grad();
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor& y = saved[2];
    const at::Tensor gradient = gradients[0].to(y.scalar_type()).contiguous();
    const at::Tensor before = at::empty_like(y);
    const std::uint64_t rows = count(y.size(0));
    const std::uint64_t parts = std::clamp<std::uint64_t>(rows / 256, 1, 64);
    const auto floats = y.options().dtype(at::kFloat);
    const at::Tensor of_bias = at::empty({y.size(1)}, floats);
    const at::Tensor partial =
        parts == 1 ? at::Tensor()
                   : at::empty({static_cast<std::int64_t>(parts), 2, y.size(1)}, floats);
    reinterpret_cast<Gpu*>(context->saved_data["gpu"].toInt())
        ->run(RectifiedBackwardJob{
            .gradient = gradient.const_data_ptr(),
            .y = y.const_data_ptr(),
            .to = before.mutable_data_ptr(),
            .type = type_of(y),
            .bias_gradient = of_bias.mutable_data_ptr<float>(),
            .partial = partial.defined() ? partial.mutable_data_ptr<float>() : nullptr,
            .parts = parts,
            .rows = rows,
            .width = count(y.size(1))});
    return {context->saved_data["leads_on"].toBool() ? at::mm(before, saved[1]) : at::Tensor(),
            at::mm(before.t(), saved[0]), of_bias, at::Tensor()};
  }
};

/// Rows of outputs begin on 128 bytes; the weight has rows of zeros for what is behind them.
class PaddedLinear : public torch::autograd::Function<PaddedLinear> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& weight) {
    constexpr std::int64_t multiple = 64;
    const at::AutoDispatchBelowADInplaceOrView below;
    const at::Tensor input = x.to(type_of_product(x)).reshape({-1, weight.size(1)}).contiguous();
    const std::int64_t outputs = weight.size(0);
    const std::int64_t padded = (outputs + multiple - 1) / multiple * multiple;
    const at::Tensor matrix = at::empty({padded, weight.size(1)}, input.options());
    matrix.narrow(0, 0, outputs).copy_(weight);
    matrix.narrow(0, outputs, padded - outputs).zero_();
    const at::Tensor y = at::mm(input, matrix.t());
    context->save_for_backward({input, matrix});
    context->saved_data["outputs"] = outputs;
    context->saved_data["values"] = reinterpret_cast<std::int64_t>(y.const_data_ptr());
    std::vector<std::int64_t> sizes = x.sizes().vec();
    sizes.back() = padded;
    return y.view(sizes).narrow(-1, 0, outputs);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const std::int64_t outputs = context->saved_data["outputs"].toInt();
    const at::Tensor& of_outputs = gradients[0];
    const at::Tensor gradient =
        padded(of_outputs, saved[1].size(0), context->saved_data["values"].toInt());
    std::vector<std::int64_t> sizes = of_outputs.sizes().vec();
    sizes.back() = saved[1].size(1);
    return {at::mm(gradient, saved[1]).view(sizes),
            at::mm(gradient.t(), saved[0]).narrow(0, 0, outputs)};
  }

 private:
  /// As it is where it lies in the outputs' place, since cross_entropy() left it there.
  static at::Tensor padded(const at::Tensor& gradient, std::int64_t width, std::int64_t values) {
    const std::int64_t outputs = gradient.size(-1);
    const std::int64_t rows = gradient.numel() / outputs;
    if (reinterpret_cast<std::int64_t>(gradient.const_data_ptr()) == values &&
        gradient.stride(-1) == 1 && gradient.stride(-2) == width) {
      return gradient.as_strided({rows, width}, {width, 1});
    }
    at::Tensor wide = at::zeros({rows, width}, gradient.options());
    wide.narrow(1, 0, outputs).copy_(gradient.reshape({rows, outputs}));
    return wide;
  }
};

}  // namespace

at::Tensor linear_relu(Gpu& gpu, const at::Tensor& x, const at::Tensor& weight,
                       const at::Tensor& bias) {
  return LinearRelu::apply(x, weight, bias, reinterpret_cast<std::int64_t>(&gpu));
}

at::Tensor logits(const at::Tensor& x, const at::Tensor& weight) {
  constexpr std::int64_t access = 8;  // values of 16 bits
  return weight.size(0) % access == 0 ? at::linear(x, weight) : PaddedLinear::apply(x, weight);
}

}  // namespace muster::gpu_ops
