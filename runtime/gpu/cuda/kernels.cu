// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <initializer_list>
#include <type_traits>

#include "runtime/gpu/by_type.h"
#include "runtime/gpu/cuda/launch.h"
#include "runtime/gpu/image_norm_bodies.h"
#include "runtime/gpu/layer_bodies.h"
#include "runtime/gpu/norm_bodies.h"
#include "runtime/gpu/update_bodies.h"

namespace muster::cuda {
namespace {

constexpr unsigned team_size = 256;
constexpr unsigned wide_team = 1024;  // where a row is long
constexpr unsigned sums_team = 128;   // whose threads hold sums over many rows

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
constexpr unsigned warps = team_size / WarpTeam::width;

// Pieces travel as arguments of the launch: nothing to copy, and a graph keeps them.
constexpr unsigned most_pieces = PackNormJob::most_pieces;
constexpr std::uint64_t piece_part = PackNormJob::piece_part;
struct PieceTable {
  PackPiece pieces[most_pieces];
  unsigned first_block[most_pieces];
  unsigned count;
};

/// Calls use(from, to, add, count) for the block's part of a piece.
template <class To, class Use>
__device__ void with_piece(const PieceTable& table, To* to, const float* add, Use use) {
  unsigned p = table.count - 1;
  while (table.first_block[p] > blockIdx.x) {
    --p;
  }
  const PackPiece& piece = table.pieces[p];
  const std::uint64_t begin = (blockIdx.x - table.first_block[p]) * piece_part;
  const std::uint64_t count = min(piece_part, piece.count - begin);
  To* into = to + piece.offset + begin;
  const float* more = add == nullptr ? nullptr : add + piece.offset + begin;
  if (piece.from == nullptr) {
    use(static_cast<const float*>(nullptr), into, more, count);
  } else if (piece.type == DType::float32) {
    use(static_cast<const float*>(piece.from) + begin, into, more, count);
  } else if (piece.type == DType::bfloat16) {
    use(static_cast<const Bf16*>(piece.from) + begin, into, more, count);
  } else {
    use(static_cast<const F16*>(piece.from) + begin, into, more, count);
  }
}

template <class To>
__global__ void __launch_bounds__(team_size)
    pack_kernel(const __grid_constant__ PieceTable table, To* to, const float* add) {
  with_piece(table, to, add, [](auto* from, To* into, const float* more, std::uint64_t count) {
    bodies::pack(BlockTeam(), from, into, more, count);
  });
}

/// The block that comes last adds up what all have left, and decides where that is asked for.
__device__ void end_norm(const NormJob& job) {
  __shared__ bool is_last;
  if (threadIdx.x == 0) {
    __threadfence();  // the part is there before the count says so
    is_last = atomicAdd(job.arrived, 1U) == gridDim.x - 1;
  }
  __syncthreads();
  if (!is_last) {
    return;
  }
  __threadfence();
  bodies::sum_parts(BlockTeam(), job, gridDim.x);
  if (threadIdx.x == 0) {
    *job.arrived = 0;
    if (job.decides) {
      bodies::decide(job.decide);
    }
  }
}

template <class T>
__global__ void __launch_bounds__(team_size) norm_kernel(const __grid_constant__ NormJob job) {
  bodies::norm_part(BlockTeam(), job, static_cast<const T*>(job.gradients), blockIdx.x);
  end_norm(job);
}

template <class To>
__global__ void __launch_bounds__(team_size)
    pack_norm_kernel(const __grid_constant__ PieceTable table, To* to, const float* add,
                     const __grid_constant__ NormJob job) {
  const BlockTeam team;
  double own = 0;
  with_piece(table, to, add, [&](auto* from, To* into, const float* more, std::uint64_t count) {
    own = bodies::pack_squares(team, from, into, more, count);
  });
  bodies::leave_part(team, job, team.sum(own), blockIdx.x, gridDim.x);
  end_norm(job);
}

__global__ void decide_kernel(DecideJob job) {
  bodies::decide(job);
}

template <class T>
__global__ void __launch_bounds__(team_size) update_kernel(const __grid_constant__ UpdateJob job) {
  bodies::update<T>(BlockTeam(), job, job.chunks[blockIdx.x]);
}

__global__ void __launch_bounds__(team_size) order_kernel(const __grid_constant__ OrderJob job) {
  const std::uint64_t position = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (position < job.rows) {
    bodies::order(job, position);
  }
}

__global__ void __launch_bounds__(team_size) gather_kernel(const __grid_constant__ GatherJob job) {
  bodies::gather(BlockTeam(), job, blockIdx.x, blockIdx.y, gridDim.y);
}

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

/// A column of partial sums, 32 a block; each warp has a share of the parts. Calls use(column,
/// sums) in the first warp.
template <class Use>
__device__ void sum_columns(const float* partial, std::uint64_t width, std::uint64_t parts,
                            Use use) {
  __shared__ bodies::ColumnSums all[warps][WarpTeam::width];
  const unsigned lane = threadIdx.x % WarpTeam::width;
  const unsigned own_warp = threadIdx.x / WarpTeam::width;
  const std::uint64_t column = std::uint64_t{blockIdx.x} * WarpTeam::width + lane;
  if (column < width) {
    all[own_warp][lane] = bodies::column_slice(partial, width, parts, column, own_warp, warps);
  }
  __syncthreads();
  if (own_warp == 0 && column < width) {
    bodies::ColumnSums sums;
    for (unsigned warp = 0; warp < warps; ++warp) {
      sums.first += all[warp][lane].first;
      sums.second += all[warp][lane].second;
    }
    use(column, sums);
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
    image_norm_sums_kernel(const __grid_constant__ ImageNormJob job) {
  __shared__ float shared[team_size * 2 * bodies::wide_count<T>];
  bodies::image_norm_part<T>(BlockTeam(), shared, job, blockIdx.x);
}

template <class T>
__global__ void __launch_bounds__(team_size)
    image_norm_finish_kernel(const __grid_constant__ ImageNormJob job) {
  sum_columns(job.partial, job.channels, job.parts,
              [&](std::uint64_t column, const bodies::ColumnSums& sums) {
                bodies::image_norm_finish<T>(job, column, sums.first, sums.second);
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

__global__ void __launch_bounds__(team_size)
    image_norm_weights_kernel(const __grid_constant__ ImageNormBackwardJob job) {
  sum_columns(job.partial, job.channels, job.parts,
              [&](std::uint64_t column, const bodies::ColumnSums& sums) {
                job.bias_gradient[column] = sums.first;
                job.weight_gradient[column] = sums.second;
              });
}

template <class T>
__global__ void __launch_bounds__(team_size)
    image_norm_backward_apply_kernel(const __grid_constant__ ImageNormBackwardJob job) {
  bodies::image_norm_backward_apply<T>(BlockTeam(), job, blockIdx.x);
}

template <class T>
__global__ void __launch_bounds__(team_size)
    dropout_kernel(const __grid_constant__ DropoutJob job) {
  const std::uint64_t block = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (4 * block < job.count) {
    bodies::dropout<T>(job, bodies::dropout_key(job), block);
  }
}

unsigned blocks_of(std::uint64_t count, std::uint64_t each) {
  return static_cast<unsigned>((count + each - 1) / each);
}

/// Threads for a row of `count` accesses: whole warps, and all busy in every round but the last
/// warp's.
unsigned threads_of(std::uint64_t count, unsigned most) {
  const std::uint64_t rounds = std::max<std::uint64_t>(1, (count + most - 1) / most);
  return std::clamp(blocks_of((count + rounds - 1) / rounds, 32) * 32, 32U, most);
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

/// At most 64 pieces, as a table; the number of blocks for them.
unsigned fill(PieceTable& table, std::span<const PackPiece> pieces) {
  table.count = 0;
  unsigned blocks = 0;
  for (const PackPiece& piece : pieces) {
    if (piece.count > 0) {
      table.pieces[table.count] = piece;
      table.first_block[table.count++] = blocks;
      blocks += blocks_of(piece.count, piece_part);
    }
  }
  return blocks;
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

}  // namespace

void launch(const PackJob& job, cudaStream_t stream) {
  for (std::size_t first = 0; first < job.pieces.size(); first += most_pieces) {
    const std::size_t count = std::min<std::size_t>(most_pieces, job.pieces.size() - first);
    PieceTable table;
    const unsigned blocks = fill(table, job.pieces.subspan(first, count));
    if (blocks > 0) {
      by_type(job.to_type, [&](auto* to) {
        using To = std::remove_pointer_t<decltype(to)>;
        start(pack_kernel<To>, blocks, team_size, stream, table, static_cast<To*>(job.to), job.add);
      });
    }
  }
}

void launch(const PackNormJob& job, cudaStream_t stream) {
  PieceTable table;
  const unsigned blocks = fill(table, job.pack.pieces);
  by_type(job.pack.to_type, [&](auto* to) {
    using To = std::remove_pointer_t<decltype(to)>;
    start(pack_norm_kernel<To>, blocks, team_size, stream, table, static_cast<To*>(job.pack.to),
          job.pack.add, job.norm);
  });
}

void launch(const NormJob& job, cudaStream_t stream) {
  by_type(job.type, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    start(norm_kernel<T>, static_cast<unsigned>(job.blocks()), team_size, stream, job);
  });
}

void launch(const DecideJob& job, cudaStream_t stream) {
  start(decide_kernel, 1, 1, stream, job);
}

void launch(const UpdateJob& job, cudaStream_t stream) {
  if (job.chunk_count == 0) {
    return;
  }
  by_type(job.type, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    start(update_kernel<T>, static_cast<unsigned>(job.chunk_count), team_size, stream, job);
  });
}

void launch(const OrderJob& job, cudaStream_t stream) {
  if (job.rows > 0) {
    start(order_kernel, blocks_of(job.rows, team_size), team_size, stream, job);
  }
}

void launch(const GatherJob& job, cudaStream_t stream) {
  if (job.count == 0) {
    return;
  }
  constexpr std::uint64_t slice_bytes = 16384;
  const dim3 grid(static_cast<unsigned>(job.count),
                  std::clamp(blocks_of(job.row_bytes, slice_bytes), 1U, 64U));
  const std::uint64_t words = (job.row_bytes / grid.y + 3) / 4;
  const std::uint64_t accesses = job.channels == 0 ? (words + 3) / 4 : words;
  start(gather_kernel, grid, threads_of(accesses, team_size), stream, job);
}

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

void launch(const ImageNormJob& job, cudaStream_t stream) {
  const auto parts = static_cast<unsigned>(job.parts);
  const unsigned columns = blocks_of(job.channels, WarpTeam::width);
  ImageNormJob wide = job;  // writing wants more blocks than adding up
  wide.parts = std::max<std::uint64_t>(job.parts, std::min<std::uint64_t>(job.rows, 1056));
  by_type(job.type, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    start(image_norm_sums_kernel<T>, parts, team_size, stream, job);
    start(image_norm_finish_kernel<T>, columns, team_size, stream, job);
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
    start(image_norm_weights_kernel, columns, team_size, stream, job);
    start(image_norm_backward_apply_kernel<T>, static_cast<unsigned>(wide.parts), team_size, stream,
          wide);
  });
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
