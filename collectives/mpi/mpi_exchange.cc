// The operations of MpiEngine: who sends which part of what to whom.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>

#include "collectives/mpi/mpi_engine.h"
#include "collectives/mpi/mpi_world.h"
#include "collectives/reduce/reduce.h"
#include "runtime/comm/check_buffers.h"

namespace muster {
namespace {

constexpr int data_tag = 1;
constexpr std::size_t segment_bytes = std::size_t{4} << 20U;

std::byte* at(const Buffer& buffer, std::size_t element) {
  return static_cast<std::byte*>(buffer.data) + element * size_of(buffer.dtype);
}

struct Range {
  std::size_t begin;
  std::size_t end;
  std::size_t count() const { return end - begin; }
};

Range range_of(int rank, int ranks, std::size_t count) {
  const std::size_t lines = (count + line_elements - 1) / line_elements;
  const auto cut = [&](int r) {
    return std::min(
        count, lines * static_cast<unsigned>(r) / static_cast<unsigned>(ranks) * line_elements);
  };
  return {cut(rank), cut(rank + 1)};
}

Call call_of(Call::Kind kind, const Buffer& buffer, ReduceOp op, int root) {
  Call call;
  call.kind = kind;
  call.count = buffer.count;
  call.dtype = buffer.dtype;
  call.op = op;
  call.root = root;
  return call;
}

}  // namespace

void MpiEngine::send(const void* data, std::size_t bytes, int to,
                     std::vector<MPI_Request>& requests) {
  requests.push_back(MPI_REQUEST_NULL);
  check_mpi(
      MPI_Isend(data, static_cast<int>(bytes), MPI_BYTE, to, data_tag, comm_, &requests.back()),
      "MPI_Isend");
}

void MpiEngine::receive(void* data, std::size_t bytes, int from,
                        std::vector<MPI_Request>& requests) {
  requests.push_back(MPI_REQUEST_NULL);
  check_mpi(
      MPI_Irecv(data, static_cast<int>(bytes), MPI_BYTE, from, data_tag, comm_, &requests.back()),
      "MPI_Irecv");
}

/// Sends every rank its part, receives all versions of the own part and reduces them in rank order
/// into `result`.
void MpiEngine::exchange_and_reduce(const PartOf& part_of, const BytesOf& bytes_of,
                                    std::byte* result, const Buffer& like, ReduceOp op) {
  const std::size_t mine = bytes_of(rank_);
  incoming_.resize(std::max(incoming_.size(), mine * static_cast<std::size_t>(size_)));
  std::vector<const void*> sources;
  std::vector<MPI_Request> requests;
  for (int other = 0; other < size_; ++other) {
    auto* place = incoming_.data() + static_cast<std::size_t>(other) * mine;
    sources.push_back(other == rank_ ? part_of(rank_) : place);
    if (other != rank_ && mine > 0) {
      receive(place, mine, other, requests);
    }
  }
  for (int step = 1; step < size_; ++step) {  // not all to the same rank at once
    const int other = (rank_ + step) % size_;
    if (bytes_of(other) > 0) {
      send(part_of(other), bytes_of(other), other, requests);
    }
  }
  wait(requests);
  const std::array<void*, 1> to{result};
  reduce(like.dtype, like.dtype, op, sources, to, mine / size_of(like.dtype), size_);
}

/// Sends the own part to every rank and receives theirs.
void MpiEngine::spread(const PartOf& part_of, const BytesOf& bytes_of) {
  std::vector<MPI_Request> requests;
  for (int step = 1; step < size_; ++step) {
    const int from = (rank_ + size_ - step) % size_;
    const int to = (rank_ + step) % size_;
    if (bytes_of(from) > 0) {
      receive(part_of(from), bytes_of(from), from, requests);
    }
    if (bytes_of(rank_) > 0) {
      send(part_of(rank_), bytes_of(rank_), to, requests);
    }
  }
  wait(requests);
}

void MpiEngine::all_reduce(const Buffer& buffer, ReduceOp op) {
  const auto call = call_of(Call::Kind::all_reduce, buffer, op, 0);
  const FlightScope scope(flight_, flight_name(call), buffer.bytes());
  const bool small = is_small(buffer);
  meet(call, buffer.data, small ? buffer.bytes() : 0);
  if (small) {
    std::vector<const void*> sources;
    for (const auto& greeting : greetings_) {
      sources.push_back(greeting.payload.data());
    }
    const std::array<void*, 1> to{buffer.data};
    reduce(buffer.dtype, buffer.dtype, op, sources, to, buffer.count, size_);
    return;
  }
  const std::size_t element = size_of(buffer.dtype);
  const std::size_t most = segment_bytes / element;
  for (std::size_t start = 0; start < buffer.count; start += most) {
    const std::size_t count = std::min(most, buffer.count - start);
    const auto part_of = [&](int rank) {
      return at(buffer, start + range_of(rank, size_, count).begin);
    };
    const auto bytes_of = [&](int rank) { return range_of(rank, size_, count).count() * element; };
    exchange_and_reduce(part_of, bytes_of, part_of(rank_), buffer, op);
    spread(part_of, bytes_of);
  }
}

void MpiEngine::reduce_scatter(const Buffer& in, const Buffer& out, ReduceOp op) {
  const auto call = call_of(Call::Kind::reduce_scatter, in, op, 0);
  const FlightScope scope(flight_, flight_name(call), in.bytes());
  meet(call, nullptr, 0);
  const std::size_t element = size_of(in.dtype);
  const std::size_t most =
      std::max<std::size_t>(1, segment_bytes / element / static_cast<std::size_t>(size_));
  for (std::size_t start = 0; start < out.count; start += most) {
    const std::size_t count = std::min(most, out.count - start);
    const auto part_of = [&](int rank) {
      return at(in, static_cast<std::size_t>(rank) * out.count + start);
    };
    exchange_and_reduce(
        part_of, [&](int) { return count * element; }, at(out, start), in, op);
  }
}

void MpiEngine::all_gather(const Buffer& in, const Buffer& out) {
  const auto call = call_of(Call::Kind::all_gather, in, ReduceOp::sum, 0);
  const FlightScope scope(flight_, flight_name(call), out.bytes());
  meet(call, nullptr, 0);
  copy_buffer(in, {.data = at(out, static_cast<std::size_t>(rank_) * in.count),
                   .count = in.count,
                   .dtype = in.dtype});
  const std::size_t element = size_of(in.dtype);
  const std::size_t most = segment_bytes / element;
  for (std::size_t start = 0; start < in.count; start += most) {
    const std::size_t count = std::min(most, in.count - start);
    spread([&](int rank) { return at(out, static_cast<std::size_t>(rank) * in.count + start); },
           [&](int) { return count * element; });
  }
}

void MpiEngine::broadcast(const Buffer& buffer, int root) {
  const auto call = call_of(Call::Kind::broadcast, buffer, ReduceOp::sum, root);
  const FlightScope scope(flight_, flight_name(call), buffer.bytes());
  const bool small = is_small(buffer);
  meet(call, buffer.data, small ? buffer.bytes() : 0);
  if (small) {
    std::memcpy(buffer.data, greetings_[static_cast<std::size_t>(root)].payload.data(),
                buffer.bytes());
    return;
  }
  const std::size_t most = segment_bytes / size_of(buffer.dtype);
  for (std::size_t start = 0; start < buffer.count; start += most) {
    const std::size_t bytes = std::min(most, buffer.count - start) * size_of(buffer.dtype);
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(
        MPI_Ibcast(at(buffer, start), static_cast<int>(bytes), MPI_BYTE, root, comm_, &request),
        "MPI_Ibcast");
    wait(request);
  }
}

void MpiEngine::barrier() {
  const Call call;
  const FlightScope scope(flight_, flight_name(call), 0);
  meet(call, nullptr, 0);
}

}  // namespace muster
