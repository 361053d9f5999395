// Kernels of batch norm and max-pooling for images.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <type_traits>

#include "runtime/gpu/cuda/kernel_teams.h"
#include "runtime/gpu/image_norm_bodies.h"
#include "runtime/gpu/pool_bodies.h"

namespace muster::cuda {
namespace {

template <class T>
__global__ void __launch_bounds__(team_size)
    image_norm_sums_kernel(const __grid_constant__ ImageNormJob job) {
  __shared__ float shared[team_size * 2 * bodies::wide_count<T>];
  bodies::image_norm_part<T>(BlockTeam(), shared, job, blockIdx.x);
}

template <class T>
__global__ void __launch_bounds__(most_adders)
    image_norm_finish_kernel(const __grid_constant__ ImageNormJob job) {
  sum_columns<2>(job.partial, job.channels, job.parts,
              [&](std::uint64_t column, const bodies::ColumnSums<2>& sums) {
                bodies::image_norm_finish<T>(job, column, sums.of[0], sums.of[1]);
              });
}

template <class T>
__global__ void __launch_bounds__(team_size)
    image_norm_apply_kernel(const __grid_constant__ ImageNormJob job) {
  bodies::image_norm_apply<T>(BlockTeam(), job, blockIdx.x);
}

template <class T>
__global__ void __launch_bounds__(team_size)
    image_norm_backward_sums_kernel(const __grid_constant__ ImageNormBackwardJob job) {
  __shared__ float shared[team_size * 2 * bodies::wide_count<T>];
  bodies::image_norm_backward_part<T>(BlockTeam(), shared, job, blockIdx.x);
}

__global__ void __launch_bounds__(most_adders)
    image_norm_weights_kernel(const __grid_constant__ ImageNormBackwardJob job) {
  sum_columns<2>(job.partial, job.channels, job.parts,
              [&](std::uint64_t column, const bodies::ColumnSums<2>& sums) {
                job.bias_gradient[column] = sums.of[0];
                job.weight_gradient[column] = sums.of[1];
              });
}

template <class T>
__global__ void __launch_bounds__(team_size)
    image_norm_backward_apply_kernel(const __grid_constant__ ImageNormBackwardJob job) {
  bodies::image_norm_backward_apply<T>(BlockTeam(), job, blockIdx.x);
}

template <class T, int side>
__global__ void __launch_bounds__(team_size) pool_kernel(const __grid_constant__ PoolJob job) {
  bodies::pool_row<T, side>(BlockTeam(), job, blockIdx.x);
}

template <class T, int side>
__global__ void __launch_bounds__(team_size)
    pool_backward_kernel(const __grid_constant__ PoolBackwardJob job) {
  bodies::pool_backward_row<T, side>(BlockTeam(), job, blockIdx.x);
}

}  // namespace

void launch(const ImageNormJob& job, cudaStream_t stream) {
  const auto parts = static_cast<unsigned>(job.parts);
  const unsigned columns = blocks_of(job.channels, WarpTeam::width);
  ImageNormJob wide = job;  // writing wants more blocks than adding up
  wide.parts = std::max<std::uint64_t>(job.parts, std::min<std::uint64_t>(job.rows, 1056));
  by_type(job.type, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    start(image_norm_sums_kernel<T>, parts, team_size, stream, job);
    start(image_norm_finish_kernel<T>, columns, adders_of(job.parts), stream, job);
    start(image_norm_apply_kernel<T>, static_cast<unsigned>(wide.parts), team_size, stream, wide);
  });
}

void launch(const ImageNormBackwardJob& job, cudaStream_t stream) {
  const auto parts = static_cast<unsigned>(job.parts);
  const unsigned columns = blocks_of(job.channels, WarpTeam::width);
  ImageNormBackwardJob wide = job;
  wide.parts = std::max<std::uint64_t>(job.parts, std::min<std::uint64_t>(job.rows, 1056));
  by_type(job.type, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    start(image_norm_backward_sums_kernel<T>, parts, team_size, stream, job);
    start(image_norm_weights_kernel, columns, adders_of(job.parts), stream, job);
    start(image_norm_backward_apply_kernel<T>, static_cast<unsigned>(wide.parts), team_size, stream,
          wide);
  });
}

/// A block for each row of pixels.
void launch(const PoolJob& job, cudaStream_t stream) {
  const auto rows = static_cast<unsigned>(job.shape.images * job.shape.rows_out());
  by_type(job.type, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const std::uint64_t accesses =
        job.shape.columns_out() * job.shape.channels / bodies::wide_count<T>;
    if (rows > 0 && accesses > 0) {
      start(job.shape.side == 2 ? pool_kernel<T, 2> : pool_kernel<T, 3>, rows,
            threads_of(accesses, team_size), stream, job);
    }
  });
}

void launch(const PoolBackwardJob& job, cudaStream_t stream) {
  const auto rows = static_cast<unsigned>(job.shape.images * job.shape.height);
  by_type(job.type, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const std::uint64_t accesses = job.shape.width * job.shape.channels / bodies::wide_count<T>;
    if (rows > 0 && accesses > 0) {
      start(job.shape.side == 2 ? pool_backward_kernel<T, 2> : pool_backward_kernel<T, 3>, rows,
            threads_of(accesses, team_size), stream, job);
    }
  });
}

}  // namespace muster::cuda
