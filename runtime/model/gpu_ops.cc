// SPDX-License-Identifier: Apache-2.0
#include "runtime/model/gpu_ops.h"

#include <ATen/TensorOperators.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <optional>

#include "runtime/base/error.h"
#include "runtime/model/autocast.h"

namespace muster::gpu_ops {

DType type_of(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return DType::float32;
    case at::kBFloat16:
      return DType::bfloat16;
    case at::kHalf:
      return DType::float16;
    default:
      throw Error(Fault::bug,
                  "a float tensor for a GPU kernel, not " + std::string(tensor.toString()));
  }
}

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Blocks that sum over rows: three for each multiprocessor of a large card, and not fewer than 32
/// rows each.
std::uint64_t parts_for(std::uint64_t rows) {
  return std::clamp<std::uint64_t>(rows / 32, 1, 396);
}

class AddNorm : public torch::autograd::Function<AddNorm> {
 public:
  static variable_list forward(AutogradContext* context, const at::Tensor& x,
                               const std::optional<at::Tensor>& x_bias,
                               const std::optional<at::Tensor>& residual, const at::Tensor& weight,
                               const at::Tensor& bias, double epsilon, std::int64_t gpu) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const at::Tensor input = x.contiguous();
    const bool adds = residual.has_value();
    require(adds || !x_bias, "a bias is added where a residual is");
    const at::Tensor other = adds ? residual->to(input.scalar_type()).contiguous() : at::Tensor();
    const at::Tensor sum = adds ? at::empty_like(input) : input;
    const at::Tensor y = at::empty_like(input);
    const std::int64_t width = input.size(-1);
    const std::int64_t rows = width == 0 ? 0 : input.numel() / width;
    const at::Tensor mean = at::empty({rows}, input.options().dtype(at::kFloat));
    const at::Tensor inverse = at::empty_like(mean);
    reinterpret_cast<Gpu*>(gpu)->run(
        AddNormJob{.x = input.const_data_ptr(),
                   .x_bias = x_bias ? x_bias->const_data_ptr<float>() : nullptr,
                   .residual = adds ? other.const_data_ptr() : nullptr,
                   .sum = adds ? sum.mutable_data_ptr() : nullptr,
                   .y = y.mutable_data_ptr(),
                   .type = type_of(input),
                   .weight = weight.const_data_ptr<float>(),
                   .bias = bias.const_data_ptr<float>(),
                   .mean = mean.mutable_data_ptr<float>(),
                   .inverse = inverse.mutable_data_ptr<float>(),
                   .rows = count(rows),
                   .width = count(width),
                   .epsilon = static_cast<float>(epsilon)});
    context->save_for_backward({sum, weight, mean, inverse});
    context->saved_data["gpu"] = gpu;
    context->saved_data["adds"] = adds;
    context->saved_data["has_bias"] = x_bias.has_value();
    return adds ? variable_list{sum, y} : variable_list{y};
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor& input = saved[0];
    const std::int64_t width = input.size(-1);
    const auto rows = count(input.numel() / std::max<std::int64_t>(1, width));
    const bool adds = context->saved_data["adds"].toBool();
    const at::Tensor& of_y = gradients[adds ? 1 : 0];
    const at::Tensor gradient =
        of_y.defined() ? of_y.to(input.scalar_type()).contiguous() : at::empty_like(input).zero_();
    const at::Tensor add = adds && gradients[0].defined()
                               ? gradients[0].to(input.scalar_type()).contiguous()
                               : at::Tensor();
    const at::Tensor to = at::empty_like(input);
    const at::Tensor weight_gradient = at::empty_like(saved[1]);
    const at::Tensor bias_gradient = at::empty_like(saved[1]);
    const at::Tensor of_x_bias =
        context->saved_data["has_bias"].toBool() ? at::empty_like(saved[1]) : at::Tensor();
    const std::uint64_t parts = parts_for(rows);
    const at::Tensor partial =
        at::empty({static_cast<std::int64_t>(parts), 3, width}, saved[1].options());
    reinterpret_cast<Gpu*>(context->saved_data["gpu"].toInt())
        ->run(AddNormBackwardJob{
            .gradient = gradient.const_data_ptr(),
            .add = add.defined() ? add.const_data_ptr() : nullptr,
            .input = input.const_data_ptr(),
            .to = to.mutable_data_ptr(),
            .type = type_of(input),
            .weight = saved[1].const_data_ptr<float>(),
            .mean = saved[2].const_data_ptr<float>(),
            .inverse = saved[3].const_data_ptr<float>(),
            .weight_gradient = weight_gradient.mutable_data_ptr<float>(),
            .bias_gradient = bias_gradient.mutable_data_ptr<float>(),
            .x_bias_gradient = of_x_bias.defined() ? of_x_bias.mutable_data_ptr<float>() : nullptr,
            .partial = partial.mutable_data_ptr<float>(),
            .parts = parts,
            .rows = rows,
            .width = count(width)});
    return {to,           of_x_bias,   adds ? to : at::Tensor(), weight_gradient, bias_gradient,
            at::Tensor(), at::Tensor()};
  }
};

class Dropout : public torch::autograd::Function<Dropout> {
 public:
  static at::Tensor run(const at::Tensor& x, const GpuPass& pass, double share,
                        std::uint64_t place) {
    const at::Tensor input = x.contiguous();
    at::Tensor output = at::empty_like(input);
    pass.gpu->run(DropoutJob{.state = pass.state,
                             .x = input.const_data_ptr(),
                             .to = output.mutable_data_ptr(),
                             .type = type_of(input),
                             .count = count(input.numel()),
                             .share = share,
                             .seed = pass.seed,
                             .lane = pass.lane,
                             .part = pass.part,
                             .place = place});
    return output;
  }
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, std::int64_t pass,
                            double share, std::int64_t place) {
    const at::AutoDispatchBelowADInplaceOrView below;
    context->saved_data["share"] = share;
    context->saved_data["place"] = place;
    const auto& own = *reinterpret_cast<const GpuPass*>(pass);
    context->saved_data["gpu"] = reinterpret_cast<std::int64_t>(own.gpu);
    context->saved_data["state"] = reinterpret_cast<std::int64_t>(own.state);
    context->saved_data["seed"] = static_cast<std::int64_t>(own.seed);
    context->saved_data["lane"] = static_cast<std::int64_t>(own.lane);
    context->saved_data["part"] = static_cast<std::int64_t>(own.part);
    return run(x, own, share, count(place));
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto number = [&](const char* name) { return context->saved_data[name].toInt(); };
    const GpuPass pass{.gpu = reinterpret_cast<Gpu*>(number("gpu")),
                       .state = reinterpret_cast<const StepState*>(number("state")),
                       .seed = count(number("seed")),
                       .lane = count(number("lane")),
                       .part = count(number("part"))};
    return {
        run(gradients[0], pass, context->saved_data["share"].toDouble(), count(number("place"))),
        at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

/// The body lives as long as the graph of the pass that made it.
struct Body : torch::CustomClassHolder {
  std::function<at::Tensor(const at::Tensor&)> run;
};

/// `anchor` is empty: it makes a node where parameters alone want gradients. These come to them
/// from inside; were they inputs, their hooks would be called a second time.
class Recomputed : public torch::autograd::Function<Recomputed> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input,
                            const at::Tensor& /*anchor*/, const c10::intrusive_ptr<Body>& body) {
    context->save_for_backward({input});
    context->saved_data["body"] = c10::IValue::make_capsule(body);
    const auto device = input.device().type();
    context->saved_data["autocast"] = at::autocast::is_autocast_enabled(device);
    context->saved_data["type"] =
        static_cast<std::int64_t>(at::autocast::get_autocast_dtype(device));
    const at::NoGradGuard none;
    return body->run(input);
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const at::Tensor input =
        context->get_saved_variables()[0].detach().set_requires_grad(context->needs_input_grad(0));
    at::Tensor output;
    {  // backward may run in a thread of torch's, whose autocast has another type
      const AutocastScope autocast(
          context->saved_data["autocast"].toBool(), input.device().type(),
          static_cast<at::ScalarType>(context->saved_data["type"].toInt()));
      const at::AutoGradMode on(true);
      output = static_cast<Body*>(context->saved_data["body"].toCapsule().get())->run(input);
    }
    torch::autograd::backward({output}, {gradients[0]});
    return {input.grad(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

std::pair<at::Tensor, at::Tensor> add_norm(Gpu& gpu, const at::Tensor& x, const at::Tensor& x_bias,
                                           const at::Tensor& residual, const at::Tensor& weight,
                                           const at::Tensor& bias, double epsilon) {
  const auto if_any = [](const at::Tensor& tensor) {
    return tensor.defined() ? std::optional(tensor) : std::nullopt;
  };
  auto both = AddNorm::apply(x, if_any(x_bias), if_any(residual), weight, bias, epsilon,
                             reinterpret_cast<std::int64_t>(&gpu));
  return residual.defined() ? std::pair(both[0], both[1]) : std::pair(x, both[0]);
}

at::Tensor dropout(const GpuPass& pass, const at::Tensor& x, double share, std::uint64_t place) {
  return Dropout::apply(x, reinterpret_cast<std::int64_t>(&pass), share,
                        static_cast<std::int64_t>(place));
}

void cross_entropy(Gpu& gpu, const at::Tensor& logits, const at::Tensor& labels, double smoothing,
                   double scale, const at::Tensor& gradient_scale, const at::Tensor& losses) {
  require(logits.dim() == 2 && logits.stride(1) == 1 && labels.numel() == logits.size(0),
          "logits of rows, with a label each");
  gpu.run(CrossEntropyJob{.logits = logits.mutable_data_ptr(),
                          .type = type_of(logits),
                          .labels = labels.const_data_ptr<std::int64_t>(),
                          .losses = losses.mutable_data_ptr<float>(),
                          .rows = count(logits.size(0)),
                          .classes = count(logits.size(1)),
                          .stride = count(logits.stride(0)),
                          .padding = count(logits.stride(0) - logits.size(1)),
                          .smoothing = static_cast<float>(smoothing),
                          .scale = static_cast<float>(scale),
                          .gradient_scale = gradient_scale.defined()
                                                ? gradient_scale.const_data_ptr<float>()
                                                : nullptr});
}

at::Tensor recomputed(const std::function<at::Tensor(const at::Tensor&)>& body,
                      const at::Tensor& input, at::TensorList parameters) {
  auto kept = c10::make_intrusive<Body>();
  kept->run = body;
  const bool trains = std::ranges::any_of(
      parameters, [](const at::Tensor& parameter) { return parameter.requires_grad(); });
  const at::Tensor anchor = at::empty({0}, input.options()).set_requires_grad(trains);
  return Recomputed::apply(input, anchor, kept);
}

}  // namespace muster::gpu_ops
