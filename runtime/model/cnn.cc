// SPDX-License-Identifier: Apache-2.0
#include <ATen/ops/max_pool2d.h>
#include <fmt/format.h>

#include "runtime/base/error.h"
#include "runtime/model/built_in.h"
#include "runtime/model/images.h"

namespace muster {
namespace {

class Cnn final : public Network {
 public:
  Cnn(const ModelSettings& settings, const ImageShape& image, const DataShape& data,
      NetworkOptions options)
      : Network(options), activation_(settings.activation), dropout_(settings.dropout) {
    const std::int64_t width = settings.width > 0 ? settings.width : 32;
    const std::int64_t pooled = (image.height / 4) * (image.width / 4);
    add_convolution("conv1", image.channels, width, 3);
    add_convolution("conv2", width, 2 * width, 3);
    add_linear("fc1", 2 * width * pooled, 128);
    add_linear("fc2", 128, outputs_of(data));
  }
  std::string_view kind() const override { return "cnn"; }
  bool has_dropout() const override { return dropout_ > 0; }

  at::Tensor forward(const at::Tensor& features, const Pass& pass) override {
    begin(pass);
    at::Tensor x = as_images(features, channels_last());
    if (activation_ == "relu") {
      x = convolution_relu_pool("conv2", convolution_relu_pool("conv1", x, 1, pass), 1, pass);
      x = linear_relu("fc1", x.flatten(1), pass);
    } else {
      x = at::max_pool2d(activate(activation_, "conv1", convolution("conv1", x, 1, 1)), {2, 2});
      x = at::max_pool2d(activate(activation_, "conv2", convolution("conv2", x, 1, 1)), {2, 2});
      x = activate(activation_, "fc1", linear("fc1", x.flatten(1)));
    }
    return linear("fc2", dropout(x, dropout_, pass, 0));
  }

  std::string script() const override {
    auto active = [&](const std::string& text) {
      return fmt::format("torch.{}({})", activation_, text);
    };
    auto halved = [](const std::string& text) {
      return fmt::format("    x = torch.max_pool2d({}, [2, 2])\n", text);
    };
    return "def forward(self, x):\n    x = x if x.dim() == 4 else x.unsqueeze(1)\n" +
           halved(active(convolution_script("conv1", "x", 1, 1))) +
           halved(active(convolution_script("conv2", "x", 1, 1))) +
           "    x = " + active(linear_script("fc1", "torch.flatten(x, 1)")) + "\n    return " +
           linear_script("fc2", "x") + "\n";
  }

 private:
  std::string activation_;
  double dropout_;
};

}  // namespace

ImageShape image_shape(const DataShape& data, std::string_view kind, std::int64_t least) {
  const auto& shape = data.features;
  const bool is_flat = shape.size() == 2;  // rows and columns of one channel
  if (data.feature_type != DType::float32 || (shape.size() != 3 && !is_flat)) {
    throw Error(
        Fault::bad_input,
        fmt::format("model.kind = {} takes images (channels, height, width), but the data has {}; "
                    "set data.shape, or use model.kind = mlp",
                    kind, data.text()));
  }
  const ImageShape image{
      .channels = is_flat ? 1 : shape[0], .height = shape[shape.size() - 2], .width = shape.back()};
  if (image.height < least || image.width < least) {
    throw Error(
        Fault::bad_input,
        fmt::format("model.kind = {} needs images of at least {} x {} pixels, the data has {} x {}",
                    kind, least, least, image.height, image.width));
  }
  return image;
}

at::Tensor as_images(const at::Tensor& features, bool channels_last) {
  at::Tensor images = features.dim() == 3 ? features.unsqueeze(1) : features;
  return channels_last ? images.contiguous(at::MemoryFormat::ChannelsLast) : images;
}

std::unique_ptr<Network> make_cnn(const ModelSettings& settings, const DataShape& data,
                                  NetworkOptions options) {
  return std::make_unique<Cnn>(settings, image_shape(data, "cnn", 4), data, options);
}

}  // namespace muster
