// Kernels of layers: cross-entropy, layer norm with its residual, biases and dropout.
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

/// Blocks a multiprocessor has room for: of the sums of 1,024 columns fewer.
constexpr int sums_blocks(int floats) {
  return floats > 24 ? 2 : 3;
}

/// A warp a row, over the rows of the block's part; then the warps add up, one after the other,
/// what they have for the weights.
template <class T, int wides>
__global__ void __launch_bounds__(sums_team, sums_blocks(wides* bodies::wide_count<T>))
    add_norm_backward_held_kernel(const __grid_constant__ AddNormBackwardJob job) {
  constexpr int lanes = bodies::wide_count<T>;
  __shared__ float all[3][wides * lanes * WarpTeam::width];
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
        all[2][at] = (warp == 0 ? 0 : all[2][at]) + sums.whole[w][k];
      }
    }
    __syncthreads();
  }
  float* partial = job.partial + std::uint64_t{blockIdx.x} * 3 * job.width;
  for (unsigned i = threadIdx.x; i < job.width; i += sums_team) {
    for (unsigned plane = 0; plane < 3; ++plane) {
      partial[plane * job.width + i] = all[plane][i];
    }
  }
}

__global__ void __launch_bounds__(most_adders)
    norm_weights_sum_kernel(const __grid_constant__ AddNormBackwardJob job) {
  sum_columns<3>(job.partial, job.width, job.parts,
                 [&](std::uint64_t column, const bodies::ColumnSums<3>& sums) {
                   job.weight_gradient[column] = sums.of[0];
                   job.bias_gradient[column] = sums.of[1];
                   if (job.x_bias_gradient != nullptr) {
                     job.x_bias_gradient[column] = sums.of[2];
                   }
                 });
}

/// Columns of 32 accesses a block, a warp for each of several rows.
template <class T, int lanes>
__global__ void __launch_bounds__(team_size)
    bias_backward_kernel(const __grid_constant__ BiasBackwardJob job) {
  constexpr unsigned width = WarpTeam::width * lanes;
  __shared__ float all[warps][width];
  const unsigned own_warp = threadIdx.x / WarpTeam::width;
  const unsigned own = threadIdx.x % WarpTeam::width * lanes;
  const std::uint64_t first = std::uint64_t{blockIdx.x} * width;
  float sums[lanes]{};
  if (first + own < job.width) {
    bodies::bias_backward<T>(job, first + own, job.rows * blockIdx.y / job.parts + own_warp, warps,
                             job.rows * (blockIdx.y + 1) / job.parts, sums);
  }
  for (int k = 0; k < lanes; ++k) {
    all[own_warp][own + k] = sums[k];
  }
  __syncthreads();
  for (unsigned i = threadIdx.x; i < width && first + i < job.width; i += team_size) {
    float sum = 0;
    for (unsigned warp = 0; warp < warps; ++warp) {
      sum += all[warp][i];
    }
    if (job.parts == 1) {
      job.bias_gradient[first + i] = sum;
    } else {
      job.partial[blockIdx.y * job.width + first + i] = sum;
    }
  }
}

/// 32 columns a block, a warp for each of several rows; the first block has the bias behind too.
__global__ void __launch_bounds__(team_size)
    head_backward_kernel(const __grid_constant__ BiasBackwardJob job) {
  constexpr unsigned width = WarpTeam::width;
  constexpr unsigned planes = 1 + BiasBackwardJob::most_outputs;
  __shared__ float all[planes][warps][width];
  const unsigned own_warp = threadIdx.x / width;
  const unsigned lane = threadIdx.x % width;
  const std::uint64_t column = std::uint64_t{blockIdx.x} * width + lane;
  bodies::HeadSums sums;
  if (column < job.width) {
    bodies::head_backward(job, column, own_warp, warps, sums);
  }
  all[0][own_warp][lane] = sums.bias;
  for (unsigned k = 0; k + 1 < planes; ++k) {
    all[1 + k][own_warp][lane] = sums.weight[k];
  }
  for (unsigned k = own_warp; blockIdx.x == 0 && k < job.outputs; k += warps) {
    const float sum = WarpTeam::sum(bodies::head_bias(job, k, lane, width));
    if (lane == 0) {
      job.outputs_bias_gradient[k] = sum;
    }
  }
  __syncthreads();
  for (unsigned plane = own_warp; column < job.width && plane < 1 + job.outputs; plane += warps) {
    float sum = 0;
    for (unsigned warp = 0; warp < warps; ++warp) {
      sum += all[plane][warp][lane];
    }
    if (plane == 0) {
      job.bias_gradient[column] = sum;
    } else {
      job.weight_gradient[(plane - 1) * job.width + column] = sum;
    }
  }
}

__global__ void __launch_bounds__(most_adders)
    bias_sum_kernel(const __grid_constant__ BiasBackwardJob job) {
  sum_columns<1>(job.partial, job.width, job.parts,
                 [&](std::uint64_t column, const bodies::ColumnSums<1>& sums) {
                   job.bias_gradient[column] = sums.of[0];
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

template <class T, int lanes>
__global__ void __launch_bounds__(team_size) gelu_kernel(const __grid_constant__ GeluJob job) {
  const std::uint64_t group = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (group < job.count / lanes) {
    bodies::gelu<T, lanes>(job, group);
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
        all_aligned<T>({job.x, job.x_bias, job.residual, job.sum, job.y, job.weight, job.bias});
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
  start(norm_weights_sum_kernel, blocks_of(job.width, WarpTeam::width), adders_of(job.parts), stream,
        job);
}

void launch(const BiasBackwardJob& job, cudaStream_t stream) {
  if (job.width == 0) {
    return;
  }
  if (job.kind == BiasBackwardJob::Kind::head) {
    start(head_backward_kernel, blocks_of(job.width, WarpTeam::width), team_size, stream, job);
    return;
  }
  const bool splits = job.kind == BiasBackwardJob::Kind::split;
  const std::uint64_t together = splits ? job.width / job.gradients.size() : job.width;
  by_type(job.type, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    constexpr int lanes = bodies::wide_count<T>;
    const auto& from = job.gradients;
    const auto with = [&](auto kernel, unsigned columns) {
      start(kernel, dim3(blocks_of(job.width, columns), static_cast<unsigned>(job.parts)),
            team_size, stream, job);
    };
    const bool is_whole =
        together % lanes == 0 && all_aligned<T>({from[0], from[1], from[2], job.kept, job.to});
    if (is_whole && job.parts > 1) {  // few rows are better spread over more blocks
      with(bias_backward_kernel<T, lanes>, WarpTeam::width * lanes);
    } else {
      with(bias_backward_kernel<T, 1>, WarpTeam::width);
    }
  });
  if (job.parts > 1) {
    start(bias_sum_kernel, blocks_of(job.width, WarpTeam::width), adders_of(job.parts), stream, job);
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

void launch(const GeluJob& job, cudaStream_t stream) {
  if (job.count == 0) {
    return;
  }
  by_type(job.type, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    constexpr int lanes = bodies::wide_count<T>;
    if (job.count % lanes == 0 && all_aligned<T>({job.x, job.to})) {
      start(gelu_kernel<T, lanes>, blocks_of(job.count / lanes, team_size), team_size, stream, job);
    } else {
      start(gelu_kernel<T, 1>, blocks_of(job.count, team_size), team_size, stream, job);
    }
  });
}

}  // namespace muster::cuda
