// SPDX-License-Identifier: Apache-2.0
#include "collectives/node/node_communicator.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "collectives/node/checked_work.h"
#include "collectives/node/node_slot.h"
#include "collectives/reduce/reduce.h"
#include "runtime/base/error.h"
#include "runtime/comm/check_buffers.h"

namespace muster {

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
    std::memmove(element_at(out, static_cast<std::size_t>(other) * in.count), from, in.bytes());
  }
  if (in_windows) {
    group_.barrier();
  }
  return finished();
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

std::unique_ptr<Communicator> NodeCommunicator::split(int colour, int key) {
  auto part = group_.split(colour, key);
  return part ? std::make_unique<NodeCommunicator>(std::move(part), flight_) : nullptr;
}

}  // namespace muster
