// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "runtime/gpu/by_type.h"
#include "runtime/gpu/cuda/launch.h"
#include "runtime/gpu/layer_bodies.h"
#include "runtime/gpu/update_bodies.h"

namespace muster::cuda {
namespace {

constexpr unsigned team_size = 256;
constexpr unsigned wide_team = 1024;  // where a row is long

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

// Pieces travel as arguments of the launch: nothing to copy, and a graph keeps them.
constexpr unsigned most_pieces = 64;
constexpr std::uint64_t piece_part = 8192;
struct PieceTable {
  PackPiece pieces[most_pieces];
  unsigned first_block[most_pieces];
  unsigned count;
};

template <class To>
__global__ void __launch_bounds__(team_size) pack_kernel(const __grid_constant__ PieceTable table,
                                                         To* to, const float* add) {
  unsigned p = table.count - 1;
  while (table.first_block[p] > blockIdx.x) {
    --p;
  }
  const PackPiece& piece = table.pieces[p];
  const std::uint64_t begin = (blockIdx.x - table.first_block[p]) * piece_part;
  const std::uint64_t count = min(piece_part, piece.count - begin);
  To* into = to + piece.offset + begin;
  const float* more = add == nullptr ? nullptr : add + piece.offset + begin;
  const BlockTeam team;
  if (piece.from == nullptr) {
    bodies::pack(team, static_cast<const float*>(nullptr), into, more, count);
  } else if (piece.type == DType::float32) {
    bodies::pack(team, static_cast<const float*>(piece.from) + begin, into, more, count);
  } else if (piece.type == DType::bfloat16) {
    bodies::pack(team, static_cast<const Bf16*>(piece.from) + begin, into, more, count);
  } else {
    bodies::pack(team, static_cast<const F16*>(piece.from) + begin, into, more, count);
  }
}

template <class T>
__global__ void __launch_bounds__(team_size) squares_kernel(NormJob job) {
  const double sum = bodies::squares(BlockTeam(), static_cast<const T*>(job.gradients),
                                     job.chunks[blockIdx.x]);
  if (threadIdx.x == 0) {
    job.partial[blockIdx.x] = sum;
  }
}

__global__ void __launch_bounds__(wide_team) sum_kernel(NormJob job) {
  bodies::sum_partials(BlockTeam(), job);
}

__global__ void decide_kernel(DecideJob job) {
  bodies::decide(job);
}

template <class T>
__global__ void __launch_bounds__(team_size) update_kernel(const __grid_constant__ UpdateJob job) {
  bodies::update<T>(BlockTeam(), job, job.chunks[blockIdx.x]);
}

__global__ void __launch_bounds__(team_size) gather_kernel(const __grid_constant__ GatherJob job) {
  bodies::gather(BlockTeam(), job, blockIdx.x);
}

template <class T>
__global__ void __launch_bounds__(wide_team)
    cross_entropy_kernel(const __grid_constant__ CrossEntropyJob job) {
  bodies::cross_entropy<T>(BlockTeam(), job, blockIdx.x);
}

template <class T>
__global__ void __launch_bounds__(team_size)
    add_norm_kernel(const __grid_constant__ AddNormJob job) {
  bodies::add_norm<T>(BlockTeam(), job, blockIdx.x);
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

__global__ void __launch_bounds__(team_size)
    norm_weights_sum_kernel(const __grid_constant__ AddNormBackwardJob job) {
  bodies::norm_weights_sum(BlockTeam(), job, std::uint64_t{blockIdx.x} * blockDim.x);
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

/// Threads for a row of `count` elements, four a thread: whole warps.
unsigned threads_of(std::uint64_t count, unsigned most) {
  return std::clamp(blocks_of(count, 4 * 32) * 32, 32U, most);
}

}  // namespace

void launch(const PackJob& job, cudaStream_t stream) {
  for (std::size_t first = 0; first < job.pieces.size(); first += most_pieces) {
    const std::size_t count = std::min<std::size_t>(most_pieces, job.pieces.size() - first);
    PieceTable table;
    table.count = 0;
    unsigned blocks = 0;
    for (const PackPiece& piece : job.pieces.subspan(first, count)) {
      if (piece.count > 0) {
        table.pieces[table.count] = piece;
        table.first_block[table.count++] = blocks;
        blocks += blocks_of(piece.count, piece_part);
      }
    }
    if (blocks > 0) {
      by_type(job.to_type, [&](auto* to) {
        pack_kernel<<<blocks, team_size, 0, stream>>>(table, static_cast<decltype(to)>(job.to),
                                                      job.add);
      });
    }
  }
}

void launch(const NormJob& job, cudaStream_t stream) {
  by_type(job.type, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    squares_kernel<T>
        <<<static_cast<unsigned>(job.chunk_count), team_size, 0, stream>>>(job);
  });
  const bool is_long = std::max(job.chunk_count, job.loss_count) > team_size;
  sum_kernel<<<1, is_long ? wide_team : team_size, 0, stream>>>(job);
}

void launch(const DecideJob& job, cudaStream_t stream) {
  decide_kernel<<<1, 1, 0, stream>>>(job);
}

void launch(const UpdateJob& job, cudaStream_t stream) {
  by_type(job.type, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    update_kernel<T><<<static_cast<unsigned>(job.chunk_count), team_size, 0, stream>>>(job);
  });
}

void launch(const GatherJob& job, cudaStream_t stream) {
  if (job.count > 0) {
    gather_kernel<<<static_cast<unsigned>(job.count), threads_of(job.row_bytes / 4, team_size), 0,
                    stream>>>(job);
  }
}

void launch(const CrossEntropyJob& job, cudaStream_t stream) {
  if (job.rows == 0) {
    return;
  }
  by_type(job.type, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    cross_entropy_kernel<T><<<static_cast<unsigned>(job.rows), threads_of(job.classes, wide_team),
                              0, stream>>>(job);
  });
}

void launch(const AddNormJob& job, cudaStream_t stream) {
  if (job.rows == 0) {
    return;
  }
  by_type(job.type, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    add_norm_kernel<T><<<static_cast<unsigned>(job.rows), threads_of(job.width, team_size), 0,
                         stream>>>(job);
  });
}

void launch(const AddNormBackwardJob& job, cudaStream_t stream) {
  if (job.rows > 0) {
    by_type(job.type, [&](auto* type) {
      using T = std::remove_pointer_t<decltype(type)>;
      add_norm_backward_kernel<T><<<static_cast<unsigned>(job.rows),
                                    threads_of(job.width, team_size), 0, stream>>>(job);
    });
  }
  by_type(job.type, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    norm_weights_kernel<T><<<static_cast<unsigned>(job.parts), team_size, 0, stream>>>(job);
  });
  norm_weights_sum_kernel<<<blocks_of(job.width, team_size), team_size, 0, stream>>>(job);
}

void launch(const DropoutJob& job, cudaStream_t stream) {
  if (job.count == 0) {
    return;
  }
  by_type(job.type, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    dropout_kernel<T><<<blocks_of(job.count, 4 * team_size), team_size, 0, stream>>>(job);
  });
}

}  // namespace muster::cuda
