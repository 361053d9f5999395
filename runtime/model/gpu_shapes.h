/// How images have to lie for the operations of gpu_ops.h.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace muster::gpu_ops {

/// Channels last, each pixel's in whole 16-byte accesses.
inline bool lies_whole(const at::Tensor& images) {
  return images.dim() == 4 && images.size(1) % (16 / images.element_size()) == 0 &&
         images.is_contiguous(at::MemoryFormat::ChannelsLast) &&
         reinterpret_cast<std::uintptr_t>(images.const_data_ptr()) % 16 == 0;
}

inline at::Tensor with_channels_last(const at::Tensor& images, at::ScalarType type) {
  return images.to(type).contiguous(at::MemoryFormat::ChannelsLast);
}

}  // namespace muster::gpu_ops
