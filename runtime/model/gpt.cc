// SPDX-License-Identifier: Apache-2.0
#include <ATen/TensorOperators.h>
#include <ATen/autocast_mode.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <fmt/format.h>

#include <cmath>

#include "runtime/base/error.h"
#include "runtime/model/built_in.h"
#include "runtime/model/gpu_ops.h"

namespace muster {
namespace {

struct GptShape {
  std::int64_t vocabulary = 0;
  std::int64_t context = 0;
  std::int64_t width = 0;
  std::int64_t heads = 0;
  int blocks = 0;
};

class Gpt final : public Network {
 public:
  Gpt(const GptShape& shape, double dropout, NetworkOptions options)
      : Network(options), shape_(shape), dropout_(dropout) {
    parameter("wte.weight", {shape.vocabulary, shape.width}, Start::normal(0.02));
    parameter("wpe.weight", {shape.context, shape.width}, Start::normal(0.02));
    for (int i = 0; i < shape.blocks; ++i) {
      add_block(fmt::format("h.{}", i));
    }
    add_norm("ln_f");
  }
  std::string_view kind() const override { return "gpt"; }
  bool has_dropout() const override { return dropout_ > 0; }

  at::Tensor forward(const at::Tensor& features, const Pass& pass) override {
    begin(pass);
    if (pass.gpu != nullptr) {
      return forward_on_gpu(features, pass);
    }
    const at::Tensor positions = at::arange(features.size(1), features.options());
    at::Tensor x = at::embedding(tensor("wte.weight"), features) +
                   at::embedding(tensor("wpe.weight"), positions);
    x = dropout(x, dropout_, pass, 0);
    for (int i = 0; i < shape_.blocks; ++i) {
      const std::string name = fmt::format("h.{}", i);
      const auto place = static_cast<std::uint64_t>(2 * i + 1);
      const at::Tensor mixed = attention(pass, name, norm(name + ".ln_1", x));
      x = x + dropout(matrix(name + ".attn.c_proj", mixed), dropout_, pass, place);
      const at::Tensor inner = feed_in(pass, name, norm(name + ".ln_2", x));
      x = x + dropout(matrix(name + ".mlp.c_proj", inner), dropout_, pass, place + 1);
    }
    return at::linear(norm("ln_f", x), tensor("wte.weight"));
  }

 private:
  using Pair = std::pair<at::Tensor, at::Tensor>;  // the residual stream, and its norm

  /// What a layer adds to the stream: its bias, if it is defined, is yet to be added.
  struct Addition {
    at::Tensor value;
    at::Tensor bias;
  };

  static std::string block(int i) { return fmt::format("h.{}", i); }

  Pair add_and_norm(const Pass& pass, const std::string& name, const Addition& x,
                    const at::Tensor& residual) const {
    return gpu_ops::add_norm(*pass.gpu->gpu, x.value, x.bias, residual, tensor(name + ".weight"),
                             tensor(name + ".bias"), 1e-5);
  }

  /// The last layer of half a block. Where nothing stands between, the bias is added with the
  /// stream, and its gradient summed there.
  Addition projected(const Pass& pass, const std::string& name, const at::Tensor& x,
                     std::uint64_t place, bool may_leave_bias) {
    if (may_leave_bias && (dropout_ == 0 || !pass.training)) {
      return {at::matmul(x, tensor(name + ".weight")), tensor(name + ".bias")};
    }
    return {dropout(matrix(name, x), dropout_, pass, place), {}};
  }

  /// From the norm of a block's input to what its last layer adds.
  std::pair<at::Tensor, Addition> half_blocks(const Pass& pass, int i, const Pair& in,
                                              bool may_leave_bias) {
    const auto place = static_cast<std::uint64_t>(2 * i + 1);
    const Addition mixed = projected(pass, block(i) + ".attn.c_proj",
                                     attention(pass, block(i), in.second), place, true);
    const Pair middle = add_and_norm(pass, block(i) + ".ln_2", mixed, in.first);
    return {middle.first,
            projected(pass, block(i) + ".mlp.c_proj", feed_in(pass, block(i), middle.second),
                      place + 1, may_leave_bias)};
  }

  /// The residual stream in the pass's lower precision, each addition fused with the norm after it.
  at::Tensor forward_on_gpu(const at::Tensor& features, const Pass& pass) {
    const at::Tensor positions = at::arange(features.size(1), features.options());
    at::Tensor x = at::embedding(tensor("wte.weight"), features) +
                   at::embedding(tensor("wpe.weight"), positions);
    const auto device = x.device().type();
    if (at::autocast::is_autocast_enabled(device)) {
      x = x.to(at::autocast::get_autocast_dtype(device));
    }
    x = dropout(x, dropout_, pass, 0);
    if (pass.gpu->recomputes) {
      return gpu_ops::logits(recomputed_blocks(x, pass), tensor("wte.weight"));
    }
    Pair stream = add_and_norm(pass, block(0) + ".ln_1", {x, {}}, {});
    for (int i = 0; i < shape_.blocks; ++i) {
      const auto out = half_blocks(pass, i, stream, true);
      const std::string next = i + 1 < shape_.blocks ? block(i + 1) + ".ln_1" : "ln_f";
      stream = add_and_norm(pass, next, out.second, out.first);
    }
    return gpu_ops::logits(stream.second, tensor("wte.weight"));
  }

  /// Only the stream between blocks is kept for backward.
  at::Tensor recomputed_blocks(at::Tensor x, const Pass& pass) {
    const GpuPass inner = *pass.gpu;  // outlives this pass: backward runs the blocks again
    for (int i = 0; i < shape_.blocks; ++i) {
      x = gpu_ops::recomputed(
          [this, i, inner](const at::Tensor& in) {
            const Pass again{.training = true, .gpu = &inner};
            const Pair start = add_and_norm(again, block(i) + ".ln_1", {in, {}}, {});
            const auto out = half_blocks(again, i, start, false);
            return out.first + out.second.value;
          },
          x, parameters_of(block(i) + "."));
    }
    return add_and_norm(pass, "ln_f", {x, {}}, {}).second;
  }

  std::vector<at::Tensor> parameters_of(const std::string& beginning) const {
    std::vector<at::Tensor> found;
    for (const NamedTensor& each : parameters()) {
      if (each.name.starts_with(beginning)) {
        found.push_back(each.tensor);
      }
    }
    return found;
  }

  void add_norm(const std::string& name) {
    parameter(name + ".weight", {shape_.width}, Start::constant(1));
    parameter(name + ".bias", {shape_.width}, Start::constant(0));
  }

  void add_matrix(const std::string& name, std::int64_t inputs, std::int64_t outputs,
                  double deviation) {
    parameter(name + ".weight", {inputs, outputs}, Start::normal(deviation));
    parameter(name + ".bias", {outputs}, Start::constant(0));
  }

  void add_block(const std::string& name) {
    const double residual =
        0.02 / std::sqrt(2.0 * shape_.blocks);  // what adds to the residual starts smaller
    add_norm(name + ".ln_1");
    add_matrix(name + ".attn.c_attn", shape_.width, 3 * shape_.width, 0.02);
    add_matrix(name + ".attn.c_proj", shape_.width, shape_.width, residual);
    add_norm(name + ".ln_2");
    add_matrix(name + ".mlp.c_fc", shape_.width, 4 * shape_.width, 0.02);
    add_matrix(name + ".mlp.c_proj", 4 * shape_.width, shape_.width, residual);
  }

  at::Tensor norm(const std::string& name, const at::Tensor& x) const {
    return at::layer_norm(x, {shape_.width}, tensor(name + ".weight"), tensor(name + ".bias"),
                          1e-5);
  }

  at::Tensor matrix(const std::string& name, const at::Tensor& x) const {
    const at::Tensor& weight = tensor(name + ".weight");
    const at::Tensor flat =
        at::addmm(tensor(name + ".bias"), x.reshape({-1, weight.size(0)}), weight);
    return flat.view({x.size(0), x.size(1), weight.size(1)});
  }

  std::vector<at::Tensor> queries_keys_values(const Pass& pass, const std::string& name,
                                              const at::Tensor& x) const {
    return pass.gpu != nullptr ? gpu_ops::linear_split(*pass.gpu->gpu, x, tensor(name + ".weight"),
                                                       tensor(name + ".bias"))
                               : matrix(name, x).split(shape_.width, 2);
  }

  /// The heads' values, side by side.
  at::Tensor attention(const Pass& pass, const std::string& name, const at::Tensor& x) const {
    const std::int64_t batch = x.size(0);
    const std::int64_t positions = x.size(1);
    const auto parts = queries_keys_values(pass, name + ".attn.c_attn", x);
    auto by_head = [&](const at::Tensor& part) {
      return part.reshape({batch, positions, shape_.heads, shape_.width / shape_.heads})
          .transpose(1, 2);
    };
    const at::Tensor mixed = at::scaled_dot_product_attention(
        by_head(parts[0]), by_head(parts[1]), by_head(parts[2]), std::nullopt, 0.0, true);
    return mixed.transpose(1, 2).reshape({batch, positions, shape_.width});
  }

  at::Tensor feed_in(const Pass& pass, const std::string& name, const at::Tensor& x) const {
    const std::string in = name + ".mlp.c_fc";
    return pass.gpu != nullptr ? gpu_ops::linear_gelu(*pass.gpu->gpu, x, tensor(in + ".weight"),
                                                      tensor(in + ".bias"))
                               : at::gelu(matrix(in, x), "tanh");
  }

  GptShape shape_;
  double dropout_;
};

}  // namespace

std::unique_ptr<Network> make_gpt(const ModelSettings& settings, const DataShape& data,
                                  NetworkOptions options) {
  if (data.labels != DataShape::Labels::tokens) {
    throw Error(
        Fault::bad_input,
        fmt::format("model.kind = gpt takes tokens, but the data has {}; set data.format = tokens",
                    data.text()));
  }
  if (settings.embedding % settings.heads != 0) {
    throw Error(Fault::bad_input,
                fmt::format("model.embedding ({}) must be a multiple of model.heads ({})",
                            settings.embedding, settings.heads));
  }
  const std::int64_t context = settings.context > 0 ? settings.context : data.features[0];
  if (context < data.features[0]) {
    throw Error(
        Fault::bad_input,
        fmt::format(
            "model.context is {}, but a sample of the data has {} positions; lower data.context",
            context, data.features[0]));
  }
  return std::make_unique<Gpt>(GptShape{.vocabulary = data.classes,
                                        .context = context,
                                        .width = settings.embedding,
                                        .heads = settings.heads,
                                        .blocks = settings.depth.value_or(12)},
                               settings.dropout, options);
}

}  // namespace muster
