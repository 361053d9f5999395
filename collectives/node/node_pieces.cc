// SPDX-License-Identifier: Apache-2.0
// Buffers that lie in no window: their way through the staging pieces.
#include <algorithm>
#include <array>
#include <cstring>

#include "collectives/node/node_communicator.h"
#include "collectives/node/node_slot.h"
#include "collectives/reduce/reduce.h"

namespace muster {
namespace {

constexpr int most_direct =
    3;  // up to here each rank sums the whole piece itself: one barrier less

}  // namespace

std::byte* NodeCommunicator::staging(int rank) const {
  const auto pieces = memory_->bytes().data() + static_cast<std::size_t>(size()) * 2 * sizeof(Slot);
  return pieces + (2 * static_cast<std::size_t>(rank) + pieces_ % 2) * piece_bytes;
}

void NodeCommunicator::reduce_in_pieces(const Buffer& buffer, ReduceOp op) {
  const std::size_t most = piece_bytes / size_of(buffer.dtype);
  for (std::size_t start = 0; start < buffer.count; start += most) {
    const std::size_t count = std::min(most, buffer.count - start);
    ++pieces_;
    std::memcpy(staging(rank()), element_at(buffer, start), count * size_of(buffer.dtype));
    group_.barrier();
    reduce_piece(element_at(buffer, start), buffer, count, op);
  }
}

/// Few ranks: each sums all of the piece. More: each sums its range into its own piece, and all
/// collect the ranges.
void NodeCommunicator::reduce_piece(std::byte* to, const Buffer& buffer, std::size_t count,
                                    ReduceOp op) {
  const std::size_t element = size_of(buffer.dtype);
  const bool direct = size() <= most_direct;
  const Range mine = direct ? Range{0, count} : range_of(rank(), count);
  Pointers from;
  for (int other = 0; other < size(); ++other) {
    from.add(staging(other) + mine.begin * element);
  }
  const std::array<void*, 1> result{direct ? to : staging(rank()) + mine.begin * element};
  reduce(buffer.dtype, buffer.dtype, op, from.from(), result, mine.count(), size());
  if (direct) {
    return;
  }
  group_.barrier();
  for (int other = 0; other < size(); ++other) {
    const auto range = range_of(other, count);
    std::memcpy(to + range.begin * element, staging(other) + range.begin * element,
                range.count() * element);
  }
}

/// A piece holds the same stretch of every rank's part.
void NodeCommunicator::scatter_in_pieces(const Buffer& in, const Buffer& out, ReduceOp op) {
  const std::size_t element = size_of(in.dtype);
  const auto ranks = static_cast<std::size_t>(size());
  const std::size_t most = piece_bytes / element / ranks;
  for (std::size_t start = 0; start < out.count; start += most) {
    const std::size_t count = std::min(most, out.count - start);
    ++pieces_;
    for (std::size_t part = 0; part < ranks; ++part) {
      std::memcpy(staging(rank()) + part * count * element,
                  element_at(in, part * out.count + start), count * element);
    }
    group_.barrier();
    Pointers from;
    for (int other = 0; other < size(); ++other) {
      from.add(staging(other) + static_cast<std::size_t>(rank()) * count * element);
    }
    const std::array<void*, 1> to{element_at(out, start)};
    reduce(in.dtype, in.dtype, op, from.from(), to, count, size());
  }
}

void NodeCommunicator::gather_in_pieces(const Buffer& in, const Buffer& out) {
  const std::size_t element = size_of(in.dtype);
  const std::size_t most = piece_bytes / element;
  for (std::size_t start = 0; start < in.count; start += most) {
    const std::size_t count = std::min(most, in.count - start);
    ++pieces_;
    std::memcpy(staging(rank()), element_at(in, start), count * element);
    group_.barrier();
    for (int other = 0; other < size(); ++other) {
      std::memcpy(element_at(out, static_cast<std::size_t>(other) * in.count + start),
                  staging(other), count * element);
    }
  }
}

void NodeCommunicator::broadcast_in_pieces(const Buffer& buffer, int root) {
  const std::size_t element = size_of(buffer.dtype);
  const std::size_t most = piece_bytes / element;
  for (std::size_t start = 0; start < buffer.count; start += most) {
    const std::size_t count = std::min(most, buffer.count - start);
    ++pieces_;
    if (rank() == root) {
      std::memcpy(staging(root), element_at(buffer, start), count * element);
    }
    group_.barrier();
    if (rank() != root) {
      std::memcpy(element_at(buffer, start), staging(root), count * element);
    }
  }
}

}  // namespace muster
