/// CUDA's words for kernels, on the host: *_kernels.cu compiled by a C++ compiler with this header
/// before it runs as it stands. A block's threads are fibers of the calling thread, which take
/// turns at barriers and shuffles only, in an order that changes from block to block.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#define __global__
#define __device__
#define __shared__ static thread_local
#define __grid_constant__

#include <cuda_runtime_api.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <type_traits>

#undef __launch_bounds__
#define __launch_bounds__(...)

namespace muster::pretend {

/// Queues `thread` for every thread of the blocks. `name` is the kernel's, for counts.
cudaError_t run_kernel(const char* name, const cudaLaunchConfig_t& how,
                       std::function<void()> thread);
void meet_block();
/// The words that the other lanes of the warp gave.
std::uint64_t swap_in_warp(std::uint64_t own, unsigned lane_mask);

}  // namespace muster::pretend

// Of the fiber that runs.
extern thread_local uint3 threadIdx;
extern thread_local uint3 blockIdx;
extern thread_local dim3 blockDim;
extern thread_local dim3 gridDim;

using std::max;
using std::min;

inline void __syncthreads() {
  muster::pretend::meet_block();
}
inline void __threadfence() {}
inline unsigned atomicAdd(unsigned* at, unsigned more) {
  const unsigned before = *at;
  *at += more;
  return before;
}
template <class T>
T __shfl_xor_sync(unsigned /*lanes*/, T value, unsigned lane_mask) {
  static_assert(sizeof(T) <= sizeof(std::uint64_t));
  if constexpr (sizeof(T) == sizeof(std::uint64_t)) {
    return std::bit_cast<T>(
        muster::pretend::swap_in_warp(std::bit_cast<std::uint64_t>(value), lane_mask));
  } else {
    return std::bit_cast<T>(static_cast<std::uint32_t>(
        muster::pretend::swap_in_warp(std::bit_cast<std::uint32_t>(value), lane_mask)));
  }
}

/// A launch: the arguments are taken now, as the card takes them.
template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* how, void (*kernel)(Parameters...),
                               Arguments... arguments) {
  return muster::pretend::run_kernel(__PRETTY_FUNCTION__, *how,
                                     [=] { kernel(static_cast<Parameters>(arguments)...); });
}
