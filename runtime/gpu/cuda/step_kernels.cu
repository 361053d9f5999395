// Kernels of a step: rows in, gradients into the arena, what the step does, and the update.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <type_traits>

#include "runtime/gpu/cuda/kernel_teams.h"
#include "runtime/gpu/input_bodies.h"
#include "runtime/gpu/update_bodies.h"

namespace muster::cuda {
namespace {

// Pieces travel as arguments of the launch: nothing to copy, and a graph keeps them.
constexpr unsigned most_pieces = PackNormJob::most_pieces;
constexpr std::uint64_t long_part = 8192;
struct PieceTable {
  PackPiece pieces[most_pieces];
  unsigned first_block[most_pieces];
  unsigned count;
  std::uint64_t part;  ///< of a piece that a block works on
};

/// Calls use(from, to, add, count) for the block's part of a piece.
template <class To, class Use>
__device__ void with_piece(const PieceTable& table, To* to, const float* add, Use use) {
  unsigned p = table.count - 1;
  while (table.first_block[p] > blockIdx.x) {
    --p;
  }
  const PackPiece& piece = table.pieces[p];
  const std::uint64_t begin = (blockIdx.x - table.first_block[p]) * table.part;
  const std::uint64_t count = min(table.part, piece.count - begin);
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
  alignas(bodies::Before) __shared__ unsigned char before[sizeof(bodies::Before)];
  if (threadIdx.x == blockDim.x - 1 && job.decides) {  // of a warp with no parts to wait for, often
    const bodies::Before found = bodies::before_decide(job.decide);
    memcpy(before, &found, sizeof found);
  }
  const StepNotes notes = bodies::sum_parts(BlockTeam(), job, gridDim.x);  // meets in between
  if (threadIdx.x == 0) {
    *job.arrived = 0;
    if (job.decides) {
      bodies::decide(job.decide, notes, *reinterpret_cast<const bodies::Before*>(before));
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

/// Six blocks a multiprocessor: it waits for memory, and spills nothing.
template <class T>
__global__ void __launch_bounds__(team_size, 6)
    update_kernel(const __grid_constant__ UpdateJob job) {
  if (blockIdx.x < job.chunk_count) {
    bodies::update<T>(BlockTeam(), job, job.chunks[blockIdx.x]);
  } else {
    bodies::settle_moved(BlockTeam(), job, blockIdx.x - job.chunk_count);
  }
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

/// At most 64 pieces, as a table; the number of blocks for them.
unsigned fill(PieceTable& table, std::span<const PackPiece> pieces, std::uint64_t part) {
  table.count = 0;
  table.part = part;
  unsigned blocks = 0;
  for (const PackPiece& piece : pieces) {
    if (piece.count > 0) {
      table.pieces[table.count] = piece;
      table.first_block[table.count++] = blocks;
      blocks += blocks_of(piece.count, part);
    }
  }
  return blocks;
}

}  // namespace

void launch(const PackJob& job, cudaStream_t stream) {
  for (std::size_t first = 0; first < job.pieces.size(); first += most_pieces) {
    const std::size_t count = std::min<std::size_t>(most_pieces, job.pieces.size() - first);
    PieceTable table;
    const unsigned blocks = fill(table, job.pieces.subspan(first, count), long_part);
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
  const unsigned blocks = fill(table, job.pack.pieces, PackNormJob::piece_part);
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
  const auto blocks = static_cast<unsigned>(job.chunk_count + job.moved_parts());
  if (blocks == 0) {
    return;
  }
  by_type(job.type, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    start(update_kernel<T>, blocks, team_size, stream, job);
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

}  // namespace muster::cuda
