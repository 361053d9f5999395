/// CudaGpu: a lane on a CUDA device: two streams, a pool of torch's caching allocator that only its
/// own stream fills, a generator, and graphs captured in thread-local mode under one process lock.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "runtime/gpu/gpu.h"

namespace muster::cuda {

std::unique_ptr<Gpu> make_lane(int index);

}  // namespace muster::cuda
