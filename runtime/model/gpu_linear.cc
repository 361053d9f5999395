// Products with a weight, made so that what follows them on the way back costs no pass of its own.
// SPDX-License-Identifier: Apache-2.0
#include <ATen/TensorOperators.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_addmm_activation.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <vector>

#include "runtime/model/gpu_bias.h"
#include "runtime/model/gpu_ops.h"

namespace muster::gpu_ops {

Back back_to_bias(std::int64_t gpu, BiasBackwardJob::Kind kind,
                  const std::vector<at::Tensor>& gradients, const at::Tensor& kept) {
  const bool splits = kind == BiasBackwardJob::Kind::split;
  const std::int64_t rows = gradients[0].size(0);
  const std::int64_t width = gradients[0].size(1) * (splits ? 3 : 1);
  const auto floats = gradients[0].options().dtype(at::kFloat);
  const Back back{at::empty({rows, width}, gradients[0].options()), at::empty({width}, floats)};
  const std::uint64_t parts = std::clamp<std::uint64_t>(count(rows) / 256, 1, 128);
  const at::Tensor partial =
      parts == 1 ? at::Tensor() : at::empty({static_cast<std::int64_t>(parts), width}, floats);
  BiasBackwardJob job{.kind = kind,
                      .kept = kept.defined() ? kept.const_data_ptr() : nullptr,
                      .to = back.product.mutable_data_ptr(),
                      .type = type_of(back.product),
                      .bias_gradient = back.bias.mutable_data_ptr<float>(),
                      .partial = partial.defined() ? partial.mutable_data_ptr<float>() : nullptr,
                      .parts = parts,
                      .rows = count(rows),
                      .width = count(width)};
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    job.gradients[i] = gradients[i].const_data_ptr();
  }
  reinterpret_cast<Gpu*>(gpu)->run(job);
  return back;
}

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// What a product with `x` is made in.
at::ScalarType type_of_product(const at::Tensor& x) {
  const auto device = x.device().type();
  return at::autocast::is_autocast_enabled(device) ? at::autocast::get_autocast_dtype(device)
                                                   : x.scalar_type();
}

/// Rows of whatever dimensions, in the product's type.
at::Tensor rows_of(const at::Tensor& x, at::ScalarType type) {
  return x.to(type).reshape({-1, x.size(-1)}).contiguous();
}

at::Tensor in_shape_of(const at::Tensor& rows, const at::Tensor& other) {
  std::vector<std::int64_t> sizes = other.sizes().vec();
  sizes.back() = rows.size(-1);
  return rows.view(sizes);
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
    const Back back =
        back_to_bias(context->saved_data["gpu"].toInt(), BiasBackwardJob::Kind::rectified,
                     {rows_of(gradients[0], saved[2].scalar_type())}, saved[2]);
    return {
        context->saved_data["leads_on"].toBool() ? at::mm(back.product, saved[1]) : at::Tensor(),
        at::mm(back.product.t(), saved[0]), back.bias, at::Tensor()};
  }
};

/// Two layers with a rectifier between them, the second of few outputs: what goes back to the
/// second and through the rectifier is one kernel.
class ReluHead : public torch::autograd::Function<ReluHead> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& bias, const at::Tensor& head_weight,
                            const at::Tensor& head_bias, std::int64_t gpu) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const at::Tensor input = x.contiguous();
    const at::Tensor y = at::_addmm_activation(bias, input, weight.t(), 1, 1, /*use_gelu=*/false);
    context->save_for_backward({input, weight, y, head_weight});
    context->saved_data["gpu"] = gpu;
    context->saved_data["leads_on"] = x.requires_grad();
    return at::addmm(head_bias, y, head_weight.t());
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor gradient = gradients[0].contiguous();
    const at::Tensor head = saved[3].contiguous();
    const at::Tensor product = at::empty_like(saved[2]);
    const at::Tensor bias = at::empty({product.size(1)}, product.options());
    const at::Tensor of_head = at::empty_like(head);
    const at::Tensor head_bias = at::empty({gradient.size(1)}, product.options());
    reinterpret_cast<Gpu*>(context->saved_data["gpu"].toInt())
        ->run(BiasBackwardJob{.kind = BiasBackwardJob::Kind::head,
                              .gradients = {gradient.const_data_ptr()},
                              .kept = saved[2].const_data_ptr(),
                              .to = product.mutable_data_ptr(),
                              .bias_gradient = bias.mutable_data_ptr<float>(),
                              .rows = count(product.size(0)),
                              .width = count(product.size(1)),
                              .outputs = count(gradient.size(1)),
                              .weight = head.const_data_ptr<float>(),
                              .weight_gradient = of_head.mutable_data_ptr<float>(),
                              .outputs_bias_gradient = head_bias.mutable_data_ptr<float>()});
    return {context->saved_data["leads_on"].toBool() ? at::mm(product, saved[1]) : at::Tensor(),
            at::mm(product.t(), saved[0]),
            bias,
            of_head,
            head_bias,
            at::Tensor()};
  }
};

/// The weight is [inputs, outputs].
class LinearGelu : public torch::autograd::Function<LinearGelu> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& bias, std::int64_t gpu) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const at::ScalarType type = type_of_product(x);
    const at::Tensor input = rows_of(x, type);
    const at::Tensor matrix = weight.to(type);
    const at::Tensor z = at::addmm(bias.to(type), input, matrix);
    context->save_for_backward({input, matrix, z});
    context->saved_data["gpu"] = gpu;
    at::Tensor y = at::empty_like(z);
    reinterpret_cast<Gpu*>(gpu)->run(GeluJob{.x = z.const_data_ptr(),
                                             .to = y.mutable_data_ptr(),
                                             .type = type_of(z),
                                             .count = count(z.numel())});
    return in_shape_of(y, x);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const Back back = back_to_bias(context->saved_data["gpu"].toInt(), BiasBackwardJob::Kind::gelu,
                                   {rows_of(gradients[0], saved[2].scalar_type())}, saved[2]);
    return {in_shape_of(at::mm(back.product, saved[1].t()), gradients[0]),
            at::mm(saved[0].t(), back.product), back.bias, at::Tensor()};
  }
};

/// The weight is [inputs, outputs].
class LinearSplit : public torch::autograd::Function<LinearSplit> {
 public:
  static variable_list forward(AutogradContext* context, const at::Tensor& x,
                               const at::Tensor& weight, const at::Tensor& bias, std::int64_t gpu) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const at::ScalarType type = type_of_product(x);
    const at::Tensor input = rows_of(x, type);
    const at::Tensor matrix = weight.to(type);
    const at::Tensor z = in_shape_of(at::addmm(bias.to(type), input, matrix), x);
    context->save_for_backward({input, matrix});
    context->saved_data["gpu"] = gpu;
    const std::int64_t part = z.size(-1) / 3;
    return {z.narrow(-1, 0, part), z.narrow(-1, part, part), z.narrow(-1, 2 * part, part)};
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    std::vector<at::Tensor> parts;
    for (const at::Tensor& gradient : gradients) {
      parts.push_back(rows_of(gradient, saved[1].scalar_type()));
    }
    const Back back = back_to_bias(context->saved_data["gpu"].toInt(), BiasBackwardJob::Kind::split,
                                   parts, at::Tensor());
    return {in_shape_of(at::mm(back.product, saved[1].t()), gradients[0]),
            at::mm(saved[0].t(), back.product), back.bias, at::Tensor()};
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
    return in_shape_of(y, x).narrow(-1, 0, outputs);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const std::int64_t outputs = context->saved_data["outputs"].toInt();
    const at::Tensor& of_outputs = gradients[0];
    const at::Tensor gradient =
        padded(of_outputs, saved[1].size(0), context->saved_data["values"].toInt());
    return {in_shape_of(at::mm(gradient, saved[1]), of_outputs),
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

at::Tensor linear_gelu(Gpu& gpu, const at::Tensor& x, const at::Tensor& weight,
                       const at::Tensor& bias) {
  return LinearGelu::apply(x, weight, bias, reinterpret_cast<std::int64_t>(&gpu));
}

std::vector<at::Tensor> linear_split(Gpu& gpu, const at::Tensor& x, const at::Tensor& weight,
                                     const at::Tensor& bias) {
  return LinearSplit::apply(x, weight, bias, reinterpret_cast<std::int64_t>(&gpu));
}

bool can_head(const at::Tensor& x, const at::Tensor& head_weight) {
  constexpr std::int64_t most_rows = 256;  // then products do better
  return x.dim() == 2 && x.size(0) > 0 && x.size(0) <= most_rows &&
         type_of_product(x) == at::kFloat && x.scalar_type() == at::kFloat &&
         count(head_weight.size(0)) <= BiasBackwardJob::most_outputs;
}

at::Tensor relu_head(Gpu& gpu, const at::Tensor& x, const at::Tensor& weight,
                     const at::Tensor& bias, const at::Tensor& head_weight,
                     const at::Tensor& head_bias) {
  return ReluHead::apply(x, weight, bias, head_weight, head_bias,
                         reinterpret_cast<std::int64_t>(&gpu));
}

at::Tensor logits(const at::Tensor& x, const at::Tensor& weight) {
  constexpr std::int64_t access = 8;  // values of 16 bits
  return weight.size(0) % access == 0 ? at::linear(x, weight) : PaddedLinear::apply(x, weight);
}

}  // namespace muster::gpu_ops
