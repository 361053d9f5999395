// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <functional>
#include <numeric>

#include "runtime/base/error.h"
#include "runtime/base/text.h"
#include "runtime/model/built_in.h"

namespace muster {
namespace {

std::int64_t product(const std::vector<std::int64_t>& lengths) {
  return std::accumulate(lengths.begin(), lengths.end(), std::int64_t{1}, std::multiplies<>());
}

void refuse_tokens(const DataShape& data, const std::string& kind) {
  if (data.feature_type != DType::float32) {
    throw Error(
        Fault::bad_input,
        fmt::format(
            "model.kind = {} takes numbers, but the data holds tokens; use model.kind = gpt",
            kind));
  }
}

/// "128" repeated `depth` times, or a list of widths as it stands.
std::vector<std::int64_t> hidden_widths(const ModelSettings& settings) {
  std::vector<std::int64_t> widths;
  for (const std::string& word : words(settings.hidden)) {
    const auto width = parse_int(word);
    if (!width || *width < 1) {
      throw Error(
          Fault::bad_input,
          fmt::format("model.hidden: '{}' is no width; write one or more whole numbers above 0",
                      word));
    }
    widths.push_back(*width);
  }
  if (widths.size() > 1 && settings.depth &&
      static_cast<std::size_t>(*settings.depth) != widths.size()) {
    throw Error(
        Fault::bad_input,
        fmt::format("model.hidden lists {} widths and model.depth says {}; leave one of them out",
                    widths.size(), *settings.depth));
  }
  if (widths.size() == 1) {
    widths.resize(static_cast<std::size_t>(settings.depth.value_or(1)), widths[0]);
  }
  return widths;
}

class Mlp final : public Network {
 public:
  Mlp(std::string kind, const std::vector<std::int64_t>& widths, const ModelSettings& settings,
      const DataShape& data, NetworkOptions options)
      : Network(options),
        kind_(std::move(kind)),
        activation_(settings.activation),
        dropout_(settings.dropout),
        hidden_(widths.size()) {
    std::int64_t inputs = product(data.features);
    for (std::size_t i = 0; i < widths.size(); ++i) {
      add_linear(fmt::format("layers.{}", i), inputs, widths[i]);
      inputs = widths[i];
    }
    add_linear(fmt::format("layers.{}", widths.size()), inputs, outputs_of(data));
  }
  std::string_view kind() const override { return kind_; }
  bool has_dropout() const override { return dropout_ > 0 && hidden_ > 0; }

  at::Tensor forward(const at::Tensor& features, const Pass& pass) override {
    begin(pass);
    at::Tensor x = features.flatten(1);
    for (std::size_t i = 0; i < hidden_; ++i) {
      const std::string name = fmt::format("layers.{}", i);
      if (i + 1 == hidden_ && activation_ == "relu" && !(dropout_ > 0)) {
        return relu_head(name, fmt::format("layers.{}", hidden_), x, pass);
      }
      const at::Tensor y = activation_ == "relu" ? linear_relu(name, x, pass)
                                                 : activate(activation_, name, linear(name, x));
      x = dropout(y, dropout_, pass, i);
    }
    return linear(fmt::format("layers.{}", hidden_), x);
  }

  std::string script() const override {
    std::string text = "def forward(self, x):\n    x = torch.flatten(x, 1)\n";
    for (std::size_t i = 0; i < hidden_; ++i) {
      text += fmt::format("    x = torch.{}({})\n", activation_,
                          linear_script(fmt::format("layers.{}", i), "x"));
    }
    return text +
           fmt::format("    return {}\n", linear_script(fmt::format("layers.{}", hidden_), "x"));
  }

 private:
  std::string kind_;
  std::string activation_;
  double dropout_;
  std::size_t hidden_;
};

}  // namespace

std::int64_t outputs_of(const DataShape& data) {
  return data.labels == DataShape::Labels::values ? product(data.label_shape) : data.classes;
}

std::vector<std::int64_t> output_shape_of(const DataShape& data) {
  if (data.labels == DataShape::Labels::tokens) {
    return {data.features[0], data.classes};
  }
  return {outputs_of(data)};
}

std::unique_ptr<Network> make_linear(const ModelSettings& settings, const DataShape& data,
                                     NetworkOptions options) {
  refuse_tokens(data, "linear");
  return std::make_unique<Mlp>("linear", std::vector<std::int64_t>{}, settings, data, options);
}

std::unique_ptr<Network> make_mlp(const ModelSettings& settings, const DataShape& data,
                                  NetworkOptions options) {
  refuse_tokens(data, "mlp");
  return std::make_unique<Mlp>("mlp", hidden_widths(settings), settings, data, options);
}

}  // namespace muster
