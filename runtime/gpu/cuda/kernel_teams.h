/// What kernels and their launches share: the teams of threads that bodies are written for, sums
/// over columns, and how a kernel is queued. For nvcc alone.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "runtime/gpu/by_type.h"
#include "runtime/gpu/cuda/launch.h"
#include "runtime/gpu/norm_bodies.h"

namespace muster::cuda {

inline constexpr unsigned team_size = 256;

/// The threads of a block.
struct BlockTeam {
  __device__ static std::uint64_t rank() { return threadIdx.x; }
  __device__ static std::uint64_t size() { return blockDim.x; }
  __device__ static void barrier() { __syncthreads(); }
  template <class T>
  __device__ static T sum(T value) {
    return all(value, T(0), [](T a, T b) { return a + b; });
  }
  __device__ static float max(float value) {
    return all(value, -INFINITY, [](float a, float b) { return fmaxf(a, b); });
  }

  /// In a fixed order, so that the same input gives the same bits.
  template <class T, class Join>
  __device__ static T all(T value, T neutral, Join join) {
    constexpr unsigned warp = 32;
    __shared__ T parts[warp];
    const unsigned lane = threadIdx.x % warp;
    for (unsigned distance = warp / 2; distance > 0; distance /= 2) {
      value = join(value, __shfl_xor_sync(~0U, value, distance));
    }
    __syncthreads();  // the call before has been read
    if (lane == 0) {
      parts[threadIdx.x / warp] = value;
    }
    __syncthreads();
    value = lane < (blockDim.x + warp - 1) / warp ? parts[lane] : neutral;
    for (unsigned distance = warp / 2; distance > 0; distance /= 2) {
      value = join(value, __shfl_xor_sync(~0U, value, distance));
    }
    return value;
  }
};

/// The lanes of a warp: no shared memory, no barrier.
struct WarpTeam {
  static constexpr unsigned width = 32;
  __device__ static std::uint64_t rank() { return threadIdx.x % width; }
  __device__ static std::uint64_t size() { return width; }
  template <class T>
  __device__ static T sum(T value) {
    for (unsigned distance = width / 2; distance > 0; distance /= 2) {
      value += __shfl_xor_sync(~0U, value, distance);
    }
    return value;
  }
};
inline constexpr unsigned warps = team_size / WarpTeam::width;

/// Threads that add up so many parts: every round of reading waits for memory, and a thread has
/// few.
inline constexpr unsigned most_adders = 1024;
inline unsigned adders_of(std::uint64_t parts) {
  return parts < 128 ? team_size : most_adders;
}

/// A column of partial sums, 32 a block; each warp has a share of the parts. Calls use(column,
/// sums) in the first warp.
template <int planes, class Use>
__device__ void sum_columns(const float* partial, std::uint64_t width, std::uint64_t parts,
                            Use use) {
  __shared__ bodies::ColumnSums<planes> all[most_adders / WarpTeam::width][WarpTeam::width];
  const unsigned adders = blockDim.x / WarpTeam::width;
  const unsigned lane = threadIdx.x % WarpTeam::width;
  const unsigned own_warp = threadIdx.x / WarpTeam::width;
  const std::uint64_t column = std::uint64_t{blockIdx.x} * WarpTeam::width + lane;
  if (column < width) {
    all[own_warp][lane] =
        bodies::column_slice<planes>(partial, width, parts, column, own_warp, adders);
  }
  __syncthreads();
  if (own_warp == 0 && column < width) {
    bodies::ColumnSums<planes> sums;
    for (unsigned warp = 0; warp < adders; ++warp) {
      for (int plane = 0; plane < planes; ++plane) {
        sums.of[plane] += all[warp][lane].of[plane];
      }
    }
    use(column, sums);
  }
}

inline unsigned blocks_of(std::uint64_t count, std::uint64_t each) {
  return static_cast<unsigned>((count + each - 1) / each);
}

/// Threads for a row of `count` accesses: whole warps, and all busy in every round but the last
/// warp's.
inline unsigned threads_of(std::uint64_t count, unsigned most) {
  const std::uint64_t rounds = std::max<std::uint64_t>(1, (count + most - 1) / most);
  return std::clamp(blocks_of((count + rounds - 1) / rounds, 32) * 32, 32U, most);
}

/// Queues a kernel.
template <class... Parameters, class... Arguments>
void start(void (*kernel)(Parameters...), dim3 blocks, unsigned threads, cudaStream_t stream,
           Arguments... arguments) {
  cudaLaunchConfig_t how{};
  how.gridDim = blocks;
  how.blockDim = dim3(threads);
  how.stream = stream;
  cudaLaunchKernelEx(&how, kernel, arguments...);
}

}  // namespace muster::cuda
