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

constexpr std::size_t piece_bytes = std::size_t{4} << 20U;
constexpr std::size_t small_bytes =
    4096;  // below: one trip between all ranks is faster than three hops

Buffer part_of(const Buffer& buffer, std::size_t first, std::size_t count) {
  return {.data = static_cast<std::byte*>(buffer.data) + first * size_of(buffer.dtype),
          .count = count,
          .dtype = buffer.dtype};
}

}  // namespace

TwoLevelCommunicator::TwoLevelCommunicator(std::unique_ptr<MpiCommunicator> world,
                                           std::unique_ptr<MpiCommunicator> lane, LocalGroup& node,
                                           RankSlot* flight)
    : world_(std::move(world)),
      lane_(std::move(lane)),
      node_(node),
      flight_(flight),
      inside_(node),
      window_(node.share(static_cast<std::size_t>(node.size()) * piece_bytes)) {}

TwoLevelCommunicator::~TwoLevelCommunicator() = default;

Work TwoLevelCommunicator::all_reduce(Buffer buffer, ReduceOp op) {
  check_host(buffer);
  if (buffer.bytes() <= small_bytes) {
    return world_->all_reduce(buffer, op);
  }
  Call call;
  call.kind = Call::Kind::all_reduce;
  call.count = buffer.count;
  call.dtype = buffer.dtype;
  call.op = op;
  const FlightScope scope(flight_, flight_name(call), buffer.bytes());
  try {
    world_->agree(call);  // the hops below would name parts of it, and ranks of a lane
    reduce_large(buffer, op);
  } catch (const Error& error) {
    fail(error.what());  // local ranks and lanes may be waiting for this one
    throw;
  }
  return checked_work([this](std::string_view sentence) { abort(sentence); });
}

/// 16-bit floats pass through our window; others stay where they are, in pieces that all local
/// ranks share evenly, and what is left over is small.
void TwoLevelCommunicator::reduce_large(const Buffer& buffer, ReduceOp op) {
  const auto wide = accumulator_of(buffer.dtype);
  const std::size_t step = line_elements * static_cast<std::size_t>(node_.size());
  const std::size_t most = std::max(step, piece_bytes / size_of(wide) / step * step);
  if (wide != buffer.dtype) {
    for (std::size_t start = 0; start < buffer.count; start += most) {
      reduce_widened(part_of(buffer, start, std::min(most, buffer.count - start)), op);
    }
    return;
  }
  const std::size_t even = buffer.count / step * step;
  for (std::size_t start = 0; start < even; start += most) {
    reduce_even(part_of(buffer, start, std::min(most, even - start)), op, size());
  }
  if (even < buffer.count) {
    world_->all_reduce(part_of(buffer, even, buffer.count - even), op).wait();
  }
}

std::byte* TwoLevelCommunicator::room() const {
  return window_->bytes().data() + static_cast<std::size_t>(node_.rank()) * piece_bytes;
}

/// Into this rank's part of the window, and padded, so that all local ranks get equal
/// shares.
void TwoLevelCommunicator::reduce_widened(const Buffer& piece, ReduceOp op) {
  const auto wide = accumulator_of(piece.dtype);
  const auto ranks = static_cast<std::size_t>(node_.size());
  const std::size_t padded = (piece.count + ranks - 1) / ranks * ranks;
  const std::array<const void*, 1> from{piece.data};
  const std::array<void*, 1> into{room()};
  reduce(piece.dtype, wide, ReduceOp::sum, from, into, piece.count, 1);
  std::memset(room() + piece.count * size_of(wide), 0, (padded - piece.count) * size_of(wide));
  reduce_even({.data = room(), .count = padded, .dtype = wide}, op, 1);
  const std::array<const void*, 1> sum{room()};
  const std::array<void*, 1> back{piece.data};
  reduce(wide, piece.dtype, op, sum, back, piece.count, size());
}

/// Each local rank gets a share, over the machines. A mean is a sum, divided once, before all
/// collect the shares.
void TwoLevelCommunicator::reduce_even(const Buffer& whole, ReduceOp op, int divisor) {
  const std::size_t share = whole.count / static_cast<std::size_t>(node_.size());
  const Buffer own = part_of(whole, static_cast<std::size_t>(node_.rank()) * share, share);
  const auto partial = op == ReduceOp::mean ? ReduceOp::sum : op;
  inside_.reduce_scatter(whole, own, partial).wait();
  lane_->all_reduce(own, partial).wait();
  if (op == ReduceOp::mean && divisor > 1) {
    const std::array<const void*, 1> from{own.data};
    const std::array<void*, 1> to{own.data};
    reduce(own.dtype, own.dtype, op, from, to, own.count, divisor);
  }
  inside_.all_gather(own, whole).wait();
}

void TwoLevelCommunicator::fail(std::string_view sentence) noexcept {
  node_.fail(sentence);
  lane_->fail(sentence);
  world_->fail(sentence);
}

void TwoLevelCommunicator::abort(std::string_view why) noexcept {
  node_.abort(why);
  try {
    const auto sentence = fmt::format("rank {} aborted: {}", rank(), why);
    lane_->fail(sentence);
    world_->fail(sentence);
  } catch (...) {
    lane_->fail("a rank aborted");
    world_->fail("a rank aborted");
  }
}

}  // namespace muster
