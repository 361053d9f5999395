// SPDX-License-Identifier: Apache-2.0
#include "runtime/model/network.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/tanh.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "runtime/base/crc32c.h"
#include "runtime/base/error.h"
#include "runtime/model/batch_norm.h"
#include "runtime/model/gpu_ops.h"
#include "runtime/model/random_fill.h"

namespace muster {
namespace {

at::Tensor empty_float(at::IntArrayRef sizes, bool channels_last) {
  const auto format = channels_last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
  return at::empty(sizes, at::TensorOptions().dtype(at::kFloat), format);
}

}  // namespace

std::string Network::fingerprint() const {
  return shapes_fingerprint(*this);
}

at::Tensor Network::parameter(const std::string& name, at::IntArrayRef sizes, Start start) {
  const bool channels_last = options_.channels_last && sizes.size() == 4;
  at::Tensor made = empty_float(sizes, false);
  fill(made.data_ptr<float>(), static_cast<std::size_t>(made.numel()), start,
       random_key(options_.seed, name));
  if (channels_last) {  // the same values whatever the layout
    made = made.contiguous(at::MemoryFormat::ChannelsLast);
  }
  adopt(name, made);
  return tensor(name);
}

void Network::adopt(const std::string& name, const at::Tensor& made) {
  require(by_name_.emplace(name, made).second, fmt::format("two tensors are called {}", name));
  made.requires_grad_(true);
  const bool channels_last = made.dim() == 4 && !made.is_contiguous() &&
                             made.is_contiguous(at::MemoryFormat::ChannelsLast);
  parameters_.push_back({.name = name, .tensor = made, .channels_last = channels_last});
}

at::Tensor Network::buffer(const std::string& name, at::IntArrayRef sizes, double value) {
  at::Tensor made = empty_float(sizes, false);
  made.fill_(value);
  require(by_name_.emplace(name, made).second, fmt::format("two tensors are called {}", name));
  buffers_.push_back({.name = name, .tensor = made});
  return made;
}

const at::Tensor& Network::tensor(const std::string& name) const {
  const auto found = by_name_.find(name);
  require(found != by_name_.end(), fmt::format("the model has no tensor {}", name));
  return found->second;
}

void Network::add_linear(const std::string& name, std::int64_t inputs, std::int64_t outputs,
                         bool bias) {
  const double bound = 1 / std::sqrt(static_cast<double>(inputs));
  parameter(name + ".weight", {outputs, inputs}, Start::uniform(bound));
  if (bias) {
    parameter(name + ".bias", {outputs}, Start::uniform(bound));
  }
}

void Network::add_convolution(const std::string& name, std::int64_t inputs, std::int64_t outputs,
                              int kernel, bool bias) {
  const double bound = 1 / std::sqrt(static_cast<double>(inputs * kernel * kernel));
  parameter(name + ".weight", {outputs, inputs, kernel, kernel}, Start::uniform(bound));
  if (bias) {
    parameter(name + ".bias", {outputs}, Start::uniform(bound));
  }
}

void Network::add_batch_norm(const std::string& name, std::int64_t channels) {
  parameter(name + ".weight", {channels}, Start::constant(1));
  parameter(name + ".bias", {channels}, Start::constant(0));
  buffer(name + ".running_mean", {channels}, 0);
  buffer(name + ".running_var", {channels}, 1);
  norms_.push_back(name);
}

at::Tensor Network::linear(const std::string& name, const at::Tensor& input) const {
  const bool biased = has_tensor(name + ".bias");
  return at::linear(input, tensor(name + ".weight"),
                    biased ? std::optional(tensor(name + ".bias")) : std::nullopt);
}

at::Tensor Network::convolution(const std::string& name, const at::Tensor& input, int stride,
                                int padding) const {
  const bool biased = has_tensor(name + ".bias");
  return at::conv2d(input, tensor(name + ".weight"),
                    biased ? std::optional(tensor(name + ".bias")) : std::nullopt, {stride, stride},
                    {padding, padding});
}

bool Network::norms_in_one(const at::Tensor& images, const Pass& pass) {
  return pass.gpu != nullptr && pass.training && gpu_ops::can_norm_images(images);
}

std::pair<at::Tensor, at::Tensor> Network::image_norm(const std::string& name,
                                                      const at::Tensor& images,
                                                      const at::Tensor& residual, bool rectifies,
                                                      const Pass& pass) const {
  return gpu_ops::image_norm(images, residual, tensor(name + ".weight"), tensor(name + ".bias"),
                             {.gpu = pass.gpu->gpu,
                              .running_mean = tensor(name + ".running_mean"),
                              .running_variance = tensor(name + ".running_var"),
                              .momentum = options_.norm_momentum,
                              .rectifies = rectifies});
}

at::Tensor Network::batch_norm(const std::string& name, const at::Tensor& input,
                               const Pass& pass) const {
  if (norms_in_one(input, pass)) {
    return image_norm(name, input, at::Tensor(), false, pass).first;
  }
  const BatchNormTensors tensors{.weight = tensor(name + ".weight"),
                                 .bias = tensor(name + ".bias"),
                                 .running_mean = tensor(name + ".running_mean"),
                                 .running_variance = tensor(name + ".running_var"),
                                 .momentum = options_.norm_momentum};
  return muster::batch_norm(name, input, tensors, pass);
}

at::Tensor Network::dropout(const at::Tensor& input, double share, const Pass& pass,
                            std::uint64_t place) const {
  if (!pass.training || share <= 0 || input.numel() == 0) {
    return input;
  }
  if (pass.gpu != nullptr) {
    return gpu_ops::dropout(*pass.gpu, input, share, place);
  }
  at::Tensor mask = empty_float(input.sizes(), false);
  fill_dropout_mask(mask.data_ptr<float>(), static_cast<std::size_t>(mask.numel()), share,
                    mix(pass.random_key, place));
  return input * mask.to(input.device(), input.scalar_type());
}

void Network::advance_statistics(const BatchStatistics& statistics) {
  std::size_t at = 0;
  auto advance = [&](const at::Tensor& running) {
    const auto count = static_cast<std::size_t>(running.numel());
    require(at + count <= statistics.values.size(), "batch statistics of another model");
    const auto keep = static_cast<float>(1 - options_.norm_momentum);
    auto* values = running.data_ptr<float>();
    for (std::size_t i = 0; i < count; ++i, ++at) {
      values[i] = keep * values[i] + (1 - keep) * statistics.values[at];
    }
  };
  for (const std::string& name : norms_) {
    advance(tensor(name + ".running_mean"));
    advance(tensor(name + ".running_var"));
  }
}

void Network::begin(const Pass& pass) {
  activity_.clear();
  if (pass.training && pass.statistics != nullptr) {
    pass.statistics->values.clear();
  }
}

at::Tensor Network::relu(const std::string& layer, const at::Tensor& input) {
  at::Tensor output = at::relu(input);
  if (watches_activity_) {
    watch(layer, output);
  }
  return output;
}

at::Tensor Network::linear_relu(const std::string& name, const at::Tensor& x, const Pass& pass) {
  const bool is_one = pass.gpu != nullptr && pass.training && !watches_activity_ &&
                      has_tensor(name + ".bias") && x.dim() == 2 && x.numel() > 0;
  return is_one ? gpu_ops::linear_relu(*pass.gpu->gpu, x, tensor(name + ".weight"),
                                       tensor(name + ".bias"))
                : relu(name, linear(name, x));
}

at::Tensor Network::relu_head(const std::string& name, const std::string& head, const at::Tensor& x,
                              const Pass& pass) {
  const bool is_one = pass.gpu != nullptr && pass.training && !watches_activity_ &&
                      has_tensor(name + ".bias") && has_tensor(head + ".bias") &&
                      gpu_ops::can_head(x, tensor(head + ".weight"));
  return is_one ? gpu_ops::relu_head(*pass.gpu->gpu, x, tensor(name + ".weight"),
                                     tensor(name + ".bias"), tensor(head + ".weight"),
                                     tensor(head + ".bias"))
                : linear(head, linear_relu(name, x, pass));
}

at::Tensor Network::convolution_relu_pool(const std::string& name, const at::Tensor& x, int padding,
                                          const Pass& pass) {
  const at::Tensor& bias = tensor(name + ".bias");
  const bool may = pass.gpu != nullptr && pass.training && !watches_activity_ && channels_last();
  const at::Tensor product =
      at::conv2d(x, tensor(name + ".weight"), may ? std::nullopt : std::optional(bias), {1, 1},
                 {padding, padding});
  if (may && gpu_ops::can_pool(product) && std::min(product.size(2), product.size(3)) > 1) {
    return gpu_ops::relu_pool(*pass.gpu->gpu, product, bias);
  }
  const at::Tensor sum =
      may ? product + bias.to(product.scalar_type()).view({1, -1, 1, 1}) : product;
  return at::max_pool2d(relu(name, sum), {2, 2});
}

at::Tensor Network::norm_relu(const std::string& norm, const std::string& layer,
                              const at::Tensor& x, const Pass& pass) {
  return norm_add_relu(norm, layer, x, pass, nullptr).first;
}

Network::Fork Network::norm_add_relu(const std::string& norm, const std::string& layer,
                                     const at::Tensor& x, const Pass& pass,
                                     const std::function<at::Tensor()>& residual) {
  if (!watches_activity_ && norms_in_one(x, pass)) {
    const auto [first, second] =
        image_norm(norm, x, residual ? residual() : at::Tensor(), true, pass);
    return {first, second};
  }
  const at::Tensor normed = batch_norm(norm, x, pass);  // statistics lie in the order of layers
  const at::Tensor y = relu(layer, residual ? normed + residual() : normed);
  return {y, y};
}

at::Tensor Network::activate(const std::string& word, const std::string& layer,
                             const at::Tensor& input) {
  if (word == "gelu") {
    return at::gelu(input);
  }
  return word == "tanh" ? at::tanh(input) : relu(layer, input);
}

void Network::watch(const std::string& layer, const at::Tensor& output) {
  if (output.numel() == 0) {
    return;
  }
  const at::Tensor peak =
      output.detach().transpose(0, 1).flatten(1).amax(1).to(at::kCPU, at::kFloat);
  Activity activity{.layer = layer, .silent = {}};
  for (std::int64_t i = 0; i < peak.numel(); ++i) {
    activity.silent.push_back(!(peak.data_ptr<float>()[i] > 0));
  }
  activity_.push_back(std::move(activity));
}

namespace {

std::string in_script(std::string name) {
  std::ranges::replace(name, '.', '_');
  return "self." + name;
}

}  // namespace

std::string Network::linear_script(const std::string& name, const std::string& x) const {
  const std::string bias = has_tensor(name + ".bias") ? in_script(name + ".bias") : "None";
  return fmt::format("torch.linear({}, {}, {})", x, in_script(name + ".weight"), bias);
}

std::string Network::convolution_script(const std::string& name, const std::string& x, int stride,
                                        int padding) const {
  const std::string bias = has_tensor(name + ".bias") ? in_script(name + ".bias") : "None";
  return fmt::format("torch.conv2d({}, {}, {}, [{}, {}], [{}, {}])", x, in_script(name + ".weight"),
                     bias, stride, stride, padding, padding);
}

std::string Network::batch_norm_script(const std::string& name, const std::string& x) const {
  return fmt::format("torch.batch_norm({}, {}, {}, {}, {}, False, 0.0, {}, False)", x,
                     in_script(name + ".weight"), in_script(name + ".bias"),
                     in_script(name + ".running_mean"), in_script(name + ".running_var"),
                     batch_norm_epsilon);
}

std::int64_t parameter_count(const Model& model) {
  std::int64_t count = 0;
  for (const NamedTensor& each : model.parameters()) {
    count += each.tensor.numel();
  }
  return count;
}

std::string shapes_fingerprint(const Model& model) {
  std::uint32_t sum = 0;
  for (const auto* tensors : {&model.parameters(), &model.buffers()}) {
    for (const NamedTensor& each : *tensors) {
      const std::string text = fmt::format("{} {}{};", each.name,
                                           fmt::join(each.tensor.sizes(), "x"), each.channels_last);
      sum = crc32c(sum, text.data(), text.size());
    }
  }
  return fmt::format("{} {} parameters {:08x}", model.kind(), parameter_count(model), sum);
}

}  // namespace muster
