// SPDX-License-Identifier: Apache-2.0
#include "collectives/node/node_communicator.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "collectives/node/checked_work.h"
#include "collectives/reduce/reduce.h"
#include "runtime/base/error.h"
#include "runtime/comm/check_buffers.h"

namespace muster {
namespace {

constexpr std::size_t payload_bytes = 4096;      // fits beside the call: one barrier is enough
constexpr std::size_t piece_bytes = 256 * 1024;  // two per rank stay in a core's second cache
constexpr std::size_t line_elements =
    64;  // ranges are cut where no cache line is shared, whatever the type
constexpr int most_direct =
    3;  // up to here each rank sums the whole piece itself: one barrier less

std::byte* at(const Buffer& buffer, std::size_t element) {
  return static_cast<std::byte*>(buffer.data) + element * size_of(buffer.dtype);
}

/// Pointers to one place of every rank's memory. No allocation: this is on the path of the smallest
/// message.
class Pointers {
 public:
  void add(void* pointer) { pointers_[count_++] = pointer; }
  std::span<void* const> to() const { return {pointers_.data(), count_}; }
  std::span<const void* const> from() const { return {pointers_.data(), count_}; }

 private:
  std::array<void*, GroupBlock::most_members> pointers_;
  std::size_t count_ = 0;
};

}  // namespace

/// A rank's two slots alternate: whoever writes one again has passed a barrier that all entered
/// after reading it.
struct NodeCommunicator::Slot {
  Call call;
  alignas(64) std::array<std::byte, payload_bytes> payload;
};

NodeCommunicator::NodeCommunicator(LocalGroup& group, RankSlot* flight)
    : group_(group), flight_(flight) {
  if (size() > 1) {
    memory_ = group_.share(static_cast<std::size_t>(size()) * 2 * (sizeof(Slot) + piece_bytes));
  }
}

NodeCommunicator::NodeCommunicator(std::unique_ptr<LocalGroup> group, RankSlot* flight)
    : NodeCommunicator(*group, flight) {
  owned_ = std::move(group);
}

NodeCommunicator::~NodeCommunicator() = default;

NodeCommunicator::Slot& NodeCommunicator::slot(int rank) const {
  auto* slots = reinterpret_cast<Slot*>(memory_->bytes().data());
  return slots[2 * static_cast<std::size_t>(rank) + operations_ % 2];
}

std::byte* NodeCommunicator::staging(int rank) const {
  const auto pieces = memory_->bytes().data() + static_cast<std::size_t>(size()) * 2 * sizeof(Slot);
  return pieces + (2 * static_cast<std::size_t>(rank) + pieces_ % 2) * piece_bytes;
}

WindowPlace NodeCommunicator::place_of(const Buffer& buffer) const {
  return group_.place_of(buffer.data, buffer.bytes()).value_or(WindowPlace{});
}

Call NodeCommunicator::call_of(Call::Kind kind, const Buffer& buffer) const {
  Call call;
  call.kind = kind;
  call.count = buffer.count;
  call.dtype = buffer.dtype;
  if (buffer.bytes() > payload_bytes) {
    call.in = place_of(buffer);
  }
  return call;
}

/// Says what this rank does, with its data if that is small, waits for the others and compares.
void NodeCommunicator::meet(const Call& call, const void* payload, std::size_t bytes) {
  ++operations_;
  auto& mine = slot(rank());
  mine.call = call;
  if (bytes > 0) {
    std::memcpy(mine.payload.data(), payload, bytes);
  }
  group_.barrier();
  compare_calls();
}

void NodeCommunicator::compare_calls() const {
  const auto& first = slot(0).call;
  for (int other = 1; other < size(); ++other) {
    if (!slot(other).call.agrees_with(first)) [[unlikely]] {
      const auto sentence = fmt::format(
          "operation {}: {} calls {} where {} calls {}; every rank must call the same", operations_,
          group_.name_of(other), describe(slot(other).call), group_.name_of(0), describe(first));
      group_.fail(sentence);
      throw Error(Fault::communication, sentence);
    }
  }
}

bool NodeCommunicator::all_in_windows(WindowPlace Call::*place) const {
  for (int other = 0; other < size(); ++other) {
    if ((slot(other).call.*place).window == 0) {
      return false;
    }
  }
  return true;
}

std::byte* NodeCommunicator::address(int rank, WindowPlace Call::*place, std::size_t bytes) const {
  return group_.address_of(slot(rank).call.*place, bytes);
}

NodeCommunicator::Range NodeCommunicator::range_of(int rank, std::size_t count) const {
  const auto ranks = static_cast<std::size_t>(size());
  const std::size_t lines = (count + line_elements - 1) / line_elements;
  const auto cut = [&](std::size_t r) {
    return std::min(count, lines * r / ranks * line_elements);
  };
  return {cut(static_cast<std::size_t>(rank)), cut(static_cast<std::size_t>(rank) + 1)};
}

Work NodeCommunicator::finished() {
  return checked_work([this](std::string_view sentence) { group_.abort(sentence); });
}

void NodeCommunicator::barrier() {
  if (size() == 1) {
    group_.barrier();
    return;
  }
  const Call call;
  const FlightScope scope(flight_, flight_name(call), 0);
  meet(call, nullptr, 0);
}

Work NodeCommunicator::all_reduce(Buffer buffer, ReduceOp op) {
  check_host(buffer);
  if (size() == 1) {
    group_.barrier();
    return finished();
  }
  auto call = call_of(Call::Kind::all_reduce, buffer);
  call.op = op;
  const FlightScope scope(flight_, flight_name(call), buffer.bytes());
  const bool is_small = buffer.bytes() <= payload_bytes;
  meet(call, buffer.data, is_small ? buffer.bytes() : 0);
  if (is_small) {
    reduce_payloads(buffer, op);
  } else if (all_in_windows(&Call::in)) {
    reduce_in_windows(buffer, op);
  } else {
    reduce_in_pieces(buffer, op);
  }
  return finished();
}

void NodeCommunicator::reduce_payloads(const Buffer& buffer, ReduceOp op) {
  Pointers from;
  for (int other = 0; other < size(); ++other) {
    from.add(slot(other).payload.data());
  }
  const std::array<void*, 1> to{buffer.data};
  reduce(buffer.dtype, buffer.dtype, op, from.from(), to, buffer.count, size());
}

void NodeCommunicator::reduce_in_windows(const Buffer& buffer, ReduceOp op) {
  const auto range = range_of(rank(), buffer.count);
  Pointers pointers;
  for (int other = 0; other < size(); ++other) {
    pointers.add(address(other, &Call::in, buffer.bytes()) + range.begin * size_of(buffer.dtype));
  }
  reduce(buffer.dtype, buffer.dtype, op, pointers.from(), pointers.to(), range.count(), size());
  group_.barrier();
}

void NodeCommunicator::reduce_in_pieces(const Buffer& buffer, ReduceOp op) {
  const std::size_t most = piece_bytes / size_of(buffer.dtype);
  for (std::size_t start = 0; start < buffer.count; start += most) {
    const std::size_t count = std::min(most, buffer.count - start);
    ++pieces_;
    std::memcpy(staging(rank()), at(buffer, start), count * size_of(buffer.dtype));
    group_.barrier();
    reduce_piece(at(buffer, start), buffer, count, op);
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

Work NodeCommunicator::reduce_scatter(Buffer in, Buffer out, ReduceOp op) {
  check_scatter(in, out, size());
  if (size() == 1) {
    group_.barrier();
    copy_buffer(in, out);
    return finished();
  }
  auto call = call_of(Call::Kind::reduce_scatter, in);
  call.op = op;
  const FlightScope scope(flight_, flight_name(call), in.bytes());
  meet(call, nullptr, 0);
  if (all_in_windows(&Call::in)) {
    scatter_from_windows(in, out, op);
  } else {
    scatter_in_pieces(in, out, op);
  }
  return finished();
}

void NodeCommunicator::scatter_from_windows(const Buffer& in, const Buffer& out, ReduceOp op) {
  Pointers from;
  for (int other = 0; other < size(); ++other) {
    from.add(address(other, &Call::in, in.bytes()) +
             static_cast<std::size_t>(rank()) * out.bytes());
  }
  const std::array<void*, 1> to{out.data};
  reduce(in.dtype, in.dtype, op, from.from(), to, out.count, size());
  group_.barrier();  // nobody writes its input again before all have read
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
      std::memcpy(staging(rank()) + part * count * element, at(in, part * out.count + start),
                  count * element);
    }
    group_.barrier();
    Pointers from;
    for (int other = 0; other < size(); ++other) {
      from.add(staging(other) + static_cast<std::size_t>(rank()) * count * element);
    }
    const std::array<void*, 1> to{at(out, start)};
    reduce(in.dtype, in.dtype, op, from.from(), to, count, size());
  }
}

Work NodeCommunicator::all_gather(Buffer in, Buffer out) {
  check_gather(in, out, size());
  if (size() == 1) {
    group_.barrier();
    copy_buffer(in, out);
    return finished();
  }
  const auto call = call_of(Call::Kind::all_gather, in);
  const FlightScope scope(flight_, flight_name(call), out.bytes());
  const bool is_small = in.bytes() <= payload_bytes;
  meet(call, in.data, is_small ? in.bytes() : 0);
  const bool in_windows = !is_small && all_in_windows(&Call::in);
  if (!is_small && !in_windows) {
    gather_in_pieces(in, out);
    return finished();
  }
  for (int other = 0; other < size(); ++other) {
    const auto* from =
        is_small ? slot(other).payload.data() : address(other, &Call::in, in.bytes());
    std::memmove(at(out, static_cast<std::size_t>(other) * in.count), from, in.bytes());
  }
  if (in_windows) {
    group_.barrier();
  }
  return finished();
}

void NodeCommunicator::gather_in_pieces(const Buffer& in, const Buffer& out) {
  const std::size_t element = size_of(in.dtype);
  const std::size_t most = piece_bytes / element;
  for (std::size_t start = 0; start < in.count; start += most) {
    const std::size_t count = std::min(most, in.count - start);
    ++pieces_;
    std::memcpy(staging(rank()), at(in, start), count * element);
    group_.barrier();
    for (int other = 0; other < size(); ++other) {
      std::memcpy(at(out, static_cast<std::size_t>(other) * in.count + start), staging(other),
                  count * element);
    }
  }
}

Work NodeCommunicator::broadcast(Buffer buffer, int root) {
  check_root(buffer, root, size());
  if (size() == 1) {
    group_.barrier();
    return finished();
  }
  auto call = call_of(Call::Kind::broadcast, buffer);
  call.root = root;
  const FlightScope scope(flight_, flight_name(call), buffer.bytes());
  const bool is_small = buffer.bytes() <= payload_bytes;
  meet(call, buffer.data, is_small && rank() == root ? buffer.bytes() : 0);
  if (is_small) {
    if (rank() != root) {
      std::memcpy(buffer.data, slot(root).payload.data(), buffer.bytes());
    }
  } else if (slot(root).call.in.window != 0) {
    if (rank() != root) {
      std::memmove(buffer.data, address(root, &Call::in, buffer.bytes()), buffer.bytes());
    }
    group_.barrier();
  } else {
    broadcast_in_pieces(buffer, root);
  }
  return finished();
}

void NodeCommunicator::broadcast_in_pieces(const Buffer& buffer, int root) {
  const std::size_t element = size_of(buffer.dtype);
  const std::size_t most = piece_bytes / element;
  for (std::size_t start = 0; start < buffer.count; start += most) {
    const std::size_t count = std::min(most, buffer.count - start);
    ++pieces_;
    if (rank() == root) {
      std::memcpy(staging(root), at(buffer, start), count * element);
    }
    group_.barrier();
    if (rank() != root) {
      std::memcpy(at(buffer, start), staging(root), count * element);
    }
  }
}

std::unique_ptr<Communicator> NodeCommunicator::split(int colour, int key) {
  auto part = group_.split(colour, key);
  return part ? std::make_unique<NodeCommunicator>(std::move(part), flight_) : nullptr;
}

}  // namespace muster
