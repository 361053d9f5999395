/// What goes back to a layer's bias, for the layers of gpu_ops.h.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "runtime/gpu/gpu.h"

namespace muster::gpu_ops {

struct Back {
  at::Tensor product;  ///< [rows, width]: what comes back to it
  at::Tensor bias;
};

/// `kept` is undefined, or as wide as all of what comes back.
Back back_to_bias(std::int64_t gpu, BiasBackwardJob::Kind kind,
                  const std::vector<at::Tensor>& gradients, const at::Tensor& kept);

}  // namespace muster::gpu_ops
