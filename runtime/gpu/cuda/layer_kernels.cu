// Kernels of layers: cross-entropy, layer norm with its residual, rectifier and dropout.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <initializer_list>
#include <type_traits>

#include "runtime/gpu/cuda/kernel_teams.h"
#include "runtime/gpu/layer_bodies.h"

namespace muster::cuda {
namespace {

constexpr unsigned wide_team = 1024;  // where a row is long
constexpr unsigned sums_team = 128;   // whose threads hold sums over many rows

template <class T>
__global__ void __launch_bounds__(wide_team, 2)
    cross_entropy_kernel(const __grid_constant__ CrossEntropyJob job) {
  bodies::cross_entropy<T>(BlockTeam(), job, blockIdx.x);
}

template <class T>
__global__ void __launch_bounds__(team_size)
    add_norm_kernel(const __grid_constant__ AddNormJob job) {
  bodies::add_norm<T>(BlockTeam(), job, blockIdx.x);
}

/// A warp a row.
template <class T, int wides>
__global__ void __launch_bounds__(team_size)
    add_norm_held_kernel(const __grid_constant__ AddNormJob job) {
  const std::uint64_t row = std::uint64_t{blockIdx.x} * warps + threadIdx.x / WarpTeam::width;
  if (row < job.rows) {
    bodies::add_norm_held<T, wides>(WarpTeam(), job, row);
  }
}

template <class T>
__global__ void __launch_bounds__(team_size)
    add_norm_backward_kernel(const __grid_constant__ AddNormBackwardJob job) {
  bodies::add_norm_backward_row<T>(BlockTeam(), job, blockIdx.x);
}

template <class T>
__global__ void __launch_bounds__(team_size)
    norm_weights_kernel(const __grid_constant__ AddNormBackwardJob job) {
  bodies::norm_weights_part<T>(BlockTeam(), job, blockIdx.x);
}

/// A warp a row, over the rows of the block's part; then the warps add up, one after the other,
/// what they have for the weights.
template <class T, int wides>
__global__ void __launch_bounds__(sums_team, 3)
    add_norm_backward_held_kernel(const __grid_constant__ AddNormBackwardJob job) {
  constexpr int lanes = bodies::wide_count<T>;
  __shared__ float all[2][wides * lanes * WarpTeam::width];
  const WarpTeam team;
  const unsigned own_warp = threadIdx.x / WarpTeam::width;
  bodies::HeldSums<T, wides> sums;
  const std::uint64_t end = job.rows * (blockIdx.x + 1) / job.parts;
  constexpr unsigned warps = sums_team / WarpTeam::width;
  for (std::uint64_t row = job.rows * blockIdx.x / job.parts + own_warp; row < end; row += warps) {
    bodies::add_norm_backward_held<T, wides>(team, job, row, sums);
  }
  for (unsigned warp = 0; warp < warps; ++warp) {
    for (int w = 0; w < wides && warp == own_warp; ++w) {
      for (int k = 0; k < lanes; ++k) {
        const unsigned at = bodies::held_at<T>(team, w) + k;
        all[0][at] = (warp == 0 ? 0 : all[0][at]) + sums.weight[w][k];
        all[1][at] = (warp == 0 ? 0 : all[1][at]) + sums.bias[w][k];
      }
    }
    __syncthreads();
  }
  float* partial = job.partial + std::uint64_t{blockIdx.x} * 2 * job.width;
  for (unsigned i = threadIdx.x; i < job.width; i += sums_team) {
    partial[i] = all[0][i];
    partial[job.width + i] = all[1][i];
  }
}

__global__ void __launch_bounds__(team_size)
    norm_weights_sum_kernel(const __grid_constant__ AddNormBackwardJob job) {
  sum_columns(job.partial, job.width, job.parts,
              [&](std::uint64_t column, const bodies::ColumnSums& sums) {
                job.weight_gradient[column] = sums.first;
                job.bias_gradient[column] = sums.second;
              });
}

/// 32 columns a block, a warp for each of several rows.
template <class T>
__global__ void __launch_bounds__(team_size)
    rectified_backward_kernel(const __grid_constant__ RectifiedBackwardJob job) {
  __shared__ float all[warps][WarpTeam::width];
  const unsigned lane = threadIdx.x % WarpTeam::width;
  const unsigned own_warp = threadIdx.x / WarpTeam::width;
  const std::uint64_t column = std::uint64_t{blockIdx.x} * WarpTeam::width + lane;
  if (column < job.width) {
    all[own_warp][lane] = bodies::rectified_backward<T>(
        job, column, job.rows * blockIdx.y / job.parts + own_warp, warps,
        job.rows * (blockIdx.y + 1) / job.parts);
  }
  __syncthreads();
  if (own_warp > 0 || column >= job.width) {
    return;
  }
  float sum = 0;
  for (unsigned warp = 0; warp < warps; ++warp) {
    sum += all[warp][lane];
  }
  if (job.parts == 1) {
    job.bias_gradient[column] = sum;
  } else {
    float* partial = job.partial + std::uint64_t{blockIdx.y} * 2 * job.width;
    partial[column] = sum;
    partial[job.width + column] = 0;
  }
}

__global__ void __launch_bounds__(team_size)
    rectified_bias_kernel(const __grid_constant__ RectifiedBackwardJob job) {
  sum_columns(job.partial, job.width, job.parts,
              [&](std::uint64_t column, const bodies::ColumnSums& sums) {
                job.bias_gradient[column] = sums.first;
              });
}

template <class T>
__global__ void __launch_bounds__(team_size)
    dropout_kernel(const __grid_constant__ DropoutJob job) {
  const std::uint64_t block = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (4 * block < job.count) {
    bodies::dropout<T>(job, bodies::dropout_key(job), block);
  }
}

template <class T>
bool all_aligned(std::initializer_list<const void*> places) {
  return std::all_of(places.begin(), places.end(),
                     [](const void* place) { return bodies::is_aligned<bodies::Wide<T>>(place); });
}

/// Calls with the number of wide accesses in which a warp holds a row, or with 0.
template <class T, class Body>
void by_wides(std::uint64_t width, bool is_whole, Body&& body) {
  constexpr int lanes = bodies::wide_count<T>;
  const auto fits = [&](int floats) {
    return is_whole && bodies::holds<T>(width, WarpTeam::width, floats / lanes);
  };
  if (fits(8)) {
    return body(std::integral_constant<int, 8 / lanes>());
  }
  if (fits(24)) {  // 768 of GPT-2
    return body(std::integral_constant<int, 24 / lanes>());
  }
  if (fits(32)) {
    return body(std::integral_constant<int, 32 / lanes>());
  }
  body(std::integral_constant<int, 0>());
}

}  // namespace

void launch(const CrossEntropyJob& job, cudaStream_t stream) {
  if (job.rows == 0) {
    return;
  }
  by_type(job.type, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const bool is_whole = bodies::rows_are_whole<T>(job);
    const std::uint64_t accesses = is_whole ? job.classes / bodies::wide_count<T> : job.classes;
    start(cross_entropy_kernel<T>, static_cast<unsigned>(job.rows), threads_of(accesses, wide_team),
          stream, job);
  });
}

void launch(const AddNormJob& job, cudaStream_t stream) {
  if (job.rows == 0) {
    return;
  }
  by_type(job.type, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const bool is_whole =
        all_aligned<T>({job.x, job.residual, job.sum, job.y, job.weight, job.bias});
    by_wides<T>(job.width, is_whole, [&](auto wides) {
      if constexpr (wides() > 0) {
        start(add_norm_held_kernel<T, wides()>, blocks_of(job.rows, warps), team_size, stream, job);
      } else {
        start(add_norm_kernel<T>, static_cast<unsigned>(job.rows), threads_of(job.width, team_size),
              stream, job);
      }
    });
  });
}

void launch(const AddNormBackwardJob& job, cudaStream_t stream) {
  by_type(job.type, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const auto parts = static_cast<unsigned>(job.parts);
    const bool is_whole = all_aligned<T>({job.gradient, job.add, job.input, job.to, job.weight});
    by_wides<T>(job.width, is_whole, [&](auto wides) {
      if constexpr (wides() > 0) {
        start(add_norm_backward_held_kernel<T, wides()>, parts, sums_team, stream, job);
        return;
      }
      if (job.rows > 0) {
        start(add_norm_backward_kernel<T>, static_cast<unsigned>(job.rows),
              threads_of(job.width, team_size), stream, job);
      }
      start(norm_weights_kernel<T>, parts, team_size, stream, job);
    });
  });
  start(norm_weights_sum_kernel, blocks_of(job.width, WarpTeam::width), team_size, stream, job);
}

void launch(const RectifiedBackwardJob& job, cudaStream_t stream) {
  if (job.width == 0) {
    return;
  }
  const unsigned columns = blocks_of(job.width, WarpTeam::width);
  by_type(job.type, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    start(rectified_backward_kernel<T>, dim3(columns, static_cast<unsigned>(job.parts)), team_size,
          stream, job);
  });
  if (job.parts > 1) {
    start(rectified_bias_kernel, columns, team_size, stream, job);
  }
}

void launch(const DropoutJob& job, cudaStream_t stream) {
  if (job.count == 0) {
    return;
  }
  by_type(job.type, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    start(dropout_kernel<T>, blocks_of(job.count, 4 * team_size), team_size, stream, job);
  });
}

}  // namespace muster::cuda
