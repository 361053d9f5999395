/// Images: what the convolutional models ask of the data.
/// Features are channels first; two dimensions are one channel.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>

#include "runtime/data/dataset.h"

namespace muster {

struct ImageShape {
  std::int64_t channels = 0;
  std::int64_t height = 0;
  std::int64_t width = 0;
};

/// Throws bad_input when the data holds no images, or images below `least` pixels a side.
ImageShape image_shape(const DataShape& data, std::string_view kind, std::int64_t least);
at::Tensor as_images(const at::Tensor& features, bool channels_last);

}  // namespace muster
