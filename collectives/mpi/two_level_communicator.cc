// SPDX-License-Identifier: Apache-2.0
#include "collectives/mpi/two_level_communicator.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "collectives/node/checked_work.h"
#include "collectives/reduce/reduce.h"
#include "runtime/base/error.h"
#include "runtime/comm/check_buffers.h"

namespace muster {
namespace {

constexpr std::size_t piece_bytes = std::size_t{4} << 20U;  // of accumulators, each rank
constexpr std::size_t small_bytes =
    4096;  // below: one trip between all ranks is faster than three hops

}  // namespace

TwoLevelCommunicator::TwoLevelCommunicator(std::unique_ptr<MpiCommunicator> world,
                                           std::unique_ptr<MpiCommunicator> lane, LocalGroup& node)
    : world_(std::move(world)),
      lane_(std::move(lane)),
      node_(node),
      inside_(node),
      window_(node.share(static_cast<std::size_t>(node.size()) * piece_bytes)) {}

TwoLevelCommunicator::~TwoLevelCommunicator() = default;

Work TwoLevelCommunicator::all_reduce(Buffer buffer, ReduceOp op) {
  check_host(buffer);
  if (buffer.bytes() <= small_bytes) {
    return world_->all_reduce(buffer, op);
  }
  const std::size_t element = size_of(buffer.dtype);
  const auto ranks = static_cast<std::size_t>(node_.size());
  const std::size_t most =
      piece_bytes / size_of(accumulator_of(buffer.dtype)) / (64 * ranks) * (64 * ranks);
  try {
    for (std::size_t start = 0; start < buffer.count; start += most) {
      auto* data = static_cast<std::byte*>(buffer.data) + start * element;
      reduce_piece(
          {.data = data, .count = std::min(most, buffer.count - start), .dtype = buffer.dtype}, op);
    }
  } catch (const Error& error) {
    node_.fail(error.what());  // the local ranks may be waiting for this one while its lane is gone
    throw;
  }
  return checked_work([this](std::string_view sentence) { abort(sentence); });
}

/// Widened into this rank's part of the window, padded so that all local ranks get equal shares.
void TwoLevelCommunicator::reduce_piece(const Buffer& piece, ReduceOp op) {
  const auto wide = accumulator_of(piece.dtype);
  const auto ranks = static_cast<std::size_t>(node_.size());
  const std::size_t part = (piece.count + ranks - 1) / ranks;
  auto* mine = window_->bytes().data() + static_cast<std::size_t>(node_.rank()) * piece_bytes;
  const std::array<const void*, 1> from{piece.data};
  const std::array<void*, 1> into{mine};
  reduce(piece.dtype, wide, ReduceOp::sum, from, into, piece.count, 1);
  std::memset(mine + piece.count * size_of(wide), 0, (part * ranks - piece.count) * size_of(wide));
  reduce_parts(part, wide, op == ReduceOp::mean ? ReduceOp::sum : op);
  const std::array<const void*, 1> sum{mine};
  const std::array<void*, 1> back{piece.data};
  reduce(wide, piece.dtype, op, sum, back, piece.count, size());
}

void TwoLevelCommunicator::reduce_parts(std::size_t part, DType wide, ReduceOp op) {
  auto* mine = window_->bytes().data() + static_cast<std::size_t>(node_.rank()) * piece_bytes;
  const Buffer whole{
      .data = mine, .count = part * static_cast<std::size_t>(node_.size()), .dtype = wide};
  const Buffer own{.data = mine + static_cast<std::size_t>(node_.rank()) * part * size_of(wide),
                   .count = part,
                   .dtype = wide};
  inside_.reduce_scatter(whole, own, op).wait();
  lane_->all_reduce(own, op).wait();
  inside_.all_gather(own, whole).wait();
}

void TwoLevelCommunicator::abort(std::string_view why) noexcept {
  world_->abort(why);
  lane_->abort(why);
  node_.abort(why);
}

}  // namespace muster
