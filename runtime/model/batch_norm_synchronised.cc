// SPDX-License-Identifier: Apache-2.0
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/from_blob.h>
#include <torch/csrc/autograd/custom_function.h>

#include <vector>

#include "runtime/base/error.h"
#include "runtime/model/batch_norm.h"

namespace muster {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor sum_over_samples(const at::Tensor& values) {  // [B, C, ...] to [C], in double
  const at::Tensor by_channel = values.transpose(0, 1).flatten(1);
  return by_channel.sum(at::IntArrayRef{1}, false, at::kDouble);
}

at::Tensor by_channel(const at::Tensor& values, const at::Tensor& like) {  // [C] to [1, C, 1, ...]
  std::vector<std::int64_t> sizes(static_cast<std::size_t>(like.dim()), 1);
  sizes[1] = values.numel();
  return values.to(like.scalar_type()).view(sizes);
}

/// Two sums of each channel, and a count, over all ranks.
struct Sums {
  at::Tensor first;
  at::Tensor second;
  double count = 0;
};

Sums reduce(ChannelReducer& reducer, const at::Tensor& first, const at::Tensor& second,
            std::int64_t count) {
  const auto channels = static_cast<std::size_t>(first.numel());
  std::vector<double> values(first.data_ptr<double>(), first.data_ptr<double>() + channels);
  values.insert(values.end(), second.data_ptr<double>(), second.data_ptr<double>() + channels);
  values.push_back(static_cast<double>(count));
  reducer.sum(values.data(), values.size());
  auto part = [&](std::size_t from) {
    return at::from_blob(values.data() + from, {first.numel()},
                         at::TensorOptions().dtype(at::kDouble))
        .clone();
  };
  return {.first = part(0), .second = part(channels), .count = values.back()};
}

class SynchronisedNorm : public torch::autograd::Function<SynchronisedNorm> {
 public:
  // The reducer and the statistics outlive the pass: the trainer owns both. They travel as
  // addresses, which autograd can hold.
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input,
                            const at::Tensor& weight, const at::Tensor& bias,
                            const std::string& layer, std::int64_t reducer_address,
                            std::int64_t statistics_address) {
    auto& reducer = *reinterpret_cast<ChannelReducer*>(reducer_address);
    const at::Tensor values = input.to(at::kFloat);
    const at::Tensor local = sum_over_samples(values);
    const Sums sums = reduce(reducer, local, sum_over_samples(values.to(at::kDouble).square()),
                             values.numel() / values.size(1));
    if (sums.count < 2) {
      throw_too_few_values(layer, NormOver::all_ranks);
    }
    const at::Tensor mean = sums.first / sums.count;
    const at::Tensor variance = (sums.second / sums.count - mean.square()).clamp_min(0);
    const at::Tensor inverse = (variance + batch_norm_epsilon).rsqrt();
    keep(reinterpret_cast<BatchStatistics*>(statistics_address), mean,
         variance * (sums.count / (sums.count - 1)));
    const at::Tensor normal = (values - by_channel(mean, values)) * by_channel(inverse, values);
    context->save_for_backward({normal, weight, inverse});
    context->saved_data["reducer"] = reducer_address;
    context->saved_data["count"] = sums.count;
    return (normal * by_channel(weight, values) + by_channel(bias, values)).to(input.scalar_type());
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    auto& reducer = *reinterpret_cast<ChannelReducer*>(context->saved_data["reducer"].toInt());
    const auto saved = context->get_saved_variables();
    const at::Tensor& normal = saved[0];
    const at::Tensor gradient = gradients[0].to(at::kFloat);
    const at::Tensor bias_gradient = sum_over_samples(gradient);
    const at::Tensor weight_gradient = sum_over_samples(gradient * normal);
    const Sums sums = reduce(reducer, bias_gradient, weight_gradient, 0);
    const double count = context->saved_data["count"].toDouble();
    const at::Tensor centred = gradient - by_channel(sums.first / count, gradient) -
                               normal * by_channel(sums.second / count, gradient);
    const at::Tensor scale = saved[1].detach().to(at::kDouble) * saved[2];
    return {(centred * by_channel(scale, gradient)).to(gradients[0].scalar_type()),
            weight_gradient.to(at::kFloat),
            bias_gradient.to(at::kFloat),
            at::Tensor(),
            at::Tensor(),
            at::Tensor()};
  }

 private:
  static void keep(BatchStatistics* statistics, const at::Tensor& mean,
                   const at::Tensor& variance) {
    if (statistics == nullptr) {
      return;
    }
    for (const at::Tensor& each : {mean, variance}) {
      const double* first = each.data_ptr<double>();
      for (std::int64_t i = 0; i < each.numel(); ++i) {
        statistics->values.push_back(static_cast<float>(first[i]));
      }
    }
  }
};

}  // namespace

at::Tensor synchronised_batch_norm(const std::string& layer, const at::Tensor& input,
                                   const BatchNormTensors& tensors, ChannelReducer& reducer,
                                   BatchStatistics* statistics) {
  return SynchronisedNorm::apply(input, tensors.weight, tensors.bias, layer,
                                 reinterpret_cast<std::int64_t>(&reducer),
                                 reinterpret_cast<std::int64_t>(statistics));
}

}  // namespace muster
