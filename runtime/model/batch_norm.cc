// SPDX-License-Identifier: Apache-2.0
#include "runtime/model/batch_norm.h"

#include <ATen/ops/batch_norm.h>
#include <ATen/ops/native_batch_norm.h>
#include <fmt/format.h>

#include "runtime/base/error.h"

namespace muster {
namespace {

void keep_statistics(BatchStatistics& into, const at::Tensor& mean,
                     const at::Tensor& inverse_deviation, double count) {
  const at::Tensor means = mean.detach().to(at::kCPU, at::kFloat);
  const at::Tensor inverses = inverse_deviation.detach().to(at::kCPU, at::kFloat);
  const auto channels = static_cast<std::size_t>(means.numel());
  const float* first = means.data_ptr<float>();
  into.values.insert(into.values.end(), first, first + channels);
  for (std::size_t i = 0; i < channels; ++i) {
    const double inverse = inverses.data_ptr<float>()[i];
    const double biased = std::max(0.0, 1 / (inverse * inverse) - batch_norm_epsilon);
    into.values.push_back(static_cast<float>(biased * count / (count - 1)));
  }
}

}  // namespace

void throw_too_few_values(const std::string& layer, NormOver over) {
  std::string remedy =
      "raise train.batch_size or drop the last ragged batch (data.drop_last = true)";
  if (over != NormOver::all_ranks) {
    remedy = fmt::format(
        "raise train.batch_size, lower train.accumulate, use fewer ranks, {}drop the last ragged "
        "batch (data.drop_last = true){}",
        over == NormOver::gpu ? "or " : "",
        over == NormOver::gpu ? "" : ", or set model.batch_norm = synchronised");
  }
  throw Error(
      Fault::bad_input,
      fmt::format("batch norm {} has one value a channel {}, which has no variance; {}", layer,
                  over == NormOver::all_ranks ? "over all ranks" : "on this rank", remedy));
}

at::Tensor batch_norm(const std::string& layer, const at::Tensor& input,
                      const BatchNormTensors& tensors, const Pass& pass) {
  if (!pass.training) {
    return at::batch_norm(input, tensors.weight, tensors.bias, tensors.running_mean,
                          tensors.running_variance, false, 0, batch_norm_epsilon, false);
  }
  const std::int64_t count = input.numel() / std::max<std::int64_t>(input.size(1), 1);
  if (count == 1 && pass.synchronise == nullptr) {
    throw_too_few_values(layer, pass.gpu != nullptr ? NormOver::gpu : NormOver::rank);
  }
  if (pass.gpu !=
      nullptr) {  // statistics stay where they are; the trainer averages them over ranks
    return at::batch_norm(input, tensors.weight, tensors.bias, tensors.running_mean,
                          tensors.running_variance, true, tensors.momentum, batch_norm_epsilon,
                          true);
  }
  if (pass.synchronise != nullptr) {
    return synchronised_batch_norm(layer, input, tensors, *pass.synchronise, pass.statistics);
  }
  auto [output, mean, inverse_deviation] = at::native_batch_norm(
      input, tensors.weight, tensors.bias, std::nullopt, std::nullopt, true, 0, batch_norm_epsilon);
  if (pass.statistics != nullptr) {
    keep_statistics(*pass.statistics, mean, inverse_deviation, static_cast<double>(count));
  }
  return output;
}

}  // namespace muster
