// SPDX-License-Identifier: Apache-2.0
#include <ATen/TensorOperators.h>
#include <ATen/ops/max_pool2d.h>
#include <fmt/format.h>

#include <array>
#include <cmath>

#include "runtime/model/built_in.h"
#include "runtime/model/gpu_ops.h"
#include "runtime/model/images.h"

namespace muster {
namespace {

constexpr std::int64_t largest_small_image = 64;

struct ResidualBlock {
  std::string name;  // "layer1.0"
  int stride = 1;
  bool projects = false;
};

class ResNet final : public Network {
 public:
  ResNet(const ModelSettings& settings, const ImageShape& image, const DataShape& data,
         NetworkOptions options)
      : Network(options),
        kind_(settings.kind),
        is_deep_(settings.kind == "resnet50"),
        has_small_stem_(std::max(image.height, image.width) <= largest_small_image) {
    const std::int64_t width = settings.width > 0 ? settings.width : 64;
    add_kernel("conv1", image.channels, width, has_small_stem_ ? 3 : 7);
    add_batch_norm("bn1", width);
    const std::array<int, 4> counts = is_deep_ ? std::array{3, 4, 6, 3} : std::array{2, 2, 2, 2};
    std::int64_t inputs = width;
    for (int stage = 0; stage < 4; ++stage) {
      const std::int64_t inner = width << stage;
      for (int i = 0; i < counts[static_cast<std::size_t>(stage)]; ++i) {
        inputs = add_block(fmt::format("layer{}.{}", stage + 1, i), inputs, inner,
                           stage > 0 && i == 0 ? 2 : 1);
      }
    }
    add_linear("fc", inputs, outputs_of(data));
  }
  std::string_view kind() const override { return kind_; }

  at::Tensor forward(const at::Tensor& features, const Pass& pass) override {
    begin(pass);
    at::Tensor x = as_images(features, channels_last());
    x = convolution("conv1", x, has_small_stem_ ? 1 : 2, has_small_stem_ ? 1 : 3);
    x = norm_relu("bn1", "relu", x, pass);
    if (!has_small_stem_) {
      x = pass.gpu != nullptr && pass.training && gpu_ops::can_pool(x)
              ? gpu_ops::max_pool(*pass.gpu->gpu, x)
              : at::max_pool2d(x, {3, 3}, {2, 2}, {1, 1});
    }
    Fork forked{x, x};
    for (const ResidualBlock& block : blocks_) {
      forked = run(block, forked, pass);
    }
    return linear("fc", forked.first.mean(at::IntArrayRef{2, 3}));
  }

  std::string script() const override {
    std::string text = "def forward(self, x):\n    x = x if x.dim() == 4 else x.unsqueeze(1)\n";
    const std::string stem =
        convolution_script("conv1", "x", has_small_stem_ ? 1 : 2, has_small_stem_ ? 1 : 3);
    text += fmt::format("    x = torch.relu({})\n", batch_norm_script("bn1", stem));
    text += has_small_stem_ ? "" : "    x = torch.max_pool2d(x, [3, 3], [2, 2], [1, 1])\n";
    for (const ResidualBlock& block : blocks_) {
      text += script_of(block);
    }
    return text + fmt::format("    return {}\n", linear_script("fc", "torch.mean(x, [2, 3])"));
  }

 private:
  std::string pair_script(const std::string& block, int number, const std::string& x, int stride,
                          int padding) const {
    return batch_norm_script(
        fmt::format("{}.bn{}", block, number),
        convolution_script(fmt::format("{}.conv{}", block, number), x, stride, padding));
  }

  std::string script_of(const ResidualBlock& block) const {
    const std::string& name = block.name;
    std::string text;
    if (is_deep_) {
      text =
          fmt::format("    y = torch.relu({})\n    y = torch.relu({})\n    y = {}\n",
                      pair_script(name, 1, "x", 1, 0), pair_script(name, 2, "y", block.stride, 1),
                      pair_script(name, 3, "y", 1, 0));
    } else {
      text =
          fmt::format("    y = torch.relu({})\n    y = {}\n",
                      pair_script(name, 1, "x", block.stride, 1), pair_script(name, 2, "y", 1, 1));
    }
    if (block.projects) {
      text += fmt::format(
          "    x = {}\n",
          batch_norm_script(name + ".downsample.1",
                            convolution_script(name + ".downsample.0", "x", block.stride, 0)));
    }
    return text + "    x = torch.relu(y + x)\n";
  }

  /// Kaiming, fan-out, as PyTorch's ResNets start.
  void add_kernel(const std::string& name, std::int64_t inputs, std::int64_t outputs, int kernel) {
    const double deviation = std::sqrt(2.0 / static_cast<double>(outputs * kernel * kernel));
    parameter(name + ".weight", {outputs, inputs, kernel, kernel}, Start::normal(deviation));
  }

  std::int64_t add_block(const std::string& name, std::int64_t inputs, std::int64_t inner,
                         int stride) {
    const std::int64_t outputs = is_deep_ ? 4 * inner : inner;
    if (is_deep_) {
      add_pair(name, 1, inputs, inner, 1);
      add_pair(name, 2, inner, inner, 3);
      add_pair(name, 3, inner, outputs, 1);
    } else {
      add_pair(name, 1, inputs, inner, 3);
      add_pair(name, 2, inner, inner, 3);
    }
    const bool projects = stride != 1 || inputs != outputs;
    if (projects) {
      add_kernel(name + ".downsample.0", inputs, outputs, 1);
      add_batch_norm(name + ".downsample.1", outputs);
    }
    blocks_.push_back({.name = name, .stride = stride, .projects = projects});
    return outputs;
  }

  void add_pair(const std::string& block, int number, std::int64_t inputs, std::int64_t outputs,
                int kernel) {
    add_kernel(fmt::format("{}.conv{}", block, number), inputs, outputs, kernel);
    add_batch_norm(fmt::format("{}.bn{}", block, number), outputs);
  }

  /// Convolution, batch norm, rectifier.
  at::Tensor layer(const std::string& block, int number, const at::Tensor& x, int stride,
                   int padding, const Pass& pass) {
    return norm_relu(fmt::format("{}.bn{}", block, number), fmt::format("{}.relu{}", block, number),
                     convolution(fmt::format("{}.conv{}", block, number), x, stride, padding),
                     pass);
  }

  Fork run(const ResidualBlock& block, const Fork& in, const Pass& pass) {
    const std::string& name = block.name;
    const at::Tensor first = is_deep_ ? layer(name, 1, in.first, 1, 0, pass)
                                      : layer(name, 1, in.first, block.stride, 1, pass);
    const at::Tensor inner = is_deep_ ? layer(name, 2, first, block.stride, 1, pass) : first;
    const int last = is_deep_ ? 3 : 2;
    const at::Tensor y =
        convolution(fmt::format("{}.conv{}", name, last), inner, 1, is_deep_ ? 0 : 1);
    return norm_add_relu(fmt::format("{}.bn{}", name, last), name + ".relu", y, pass, [&] {
      return block.projects
                 ? batch_norm(name + ".downsample.1",
                              convolution(name + ".downsample.0", in.second, block.stride, 0), pass)
                 : in.second;
    });
  }

  std::string kind_;
  bool is_deep_;
  bool has_small_stem_;
  std::vector<ResidualBlock> blocks_;
};

}  // namespace

std::unique_ptr<Network> make_resnet(const ModelSettings& settings, const DataShape& data,
                                     NetworkOptions options) {
  return std::make_unique<ResNet>(settings, image_shape(data, settings.kind, 8), data, options);
}

}  // namespace muster
