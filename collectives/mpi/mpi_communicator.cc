// SPDX-License-Identifier: Apache-2.0
#include "collectives/mpi/mpi_communicator.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

#include "collectives/node/call.h"
#include "collectives/node/checked_work.h"
#include "collectives/node/shared_text.h"
#include "collectives/reduce/reduce.h"
#include "runtime/base/error.h"
#include "runtime/comm/check_buffers.h"

namespace muster {
namespace {

constexpr int data_tag = 1;
constexpr int abort_tag = 2;
constexpr std::size_t segment_bytes = std::size_t{4} << 20U;
constexpr std::size_t line_elements = 64;
using Words = std::array<char, 512>;

/// What travels before every operation: what a rank is about to do, and its data if that is small.
struct Greeting {
  Call call;
  std::array<std::byte, 192> payload;
};

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

}  // namespace

/// The operations themselves, all on the MPI thread. Every wait looks for the abort of another
/// rank.
class MpiCommunicator::Engine {
 public:
  Engine(MPI_Comm comm, RankSlot* flight) : comm_(comm), flight_(flight) {
    MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
    MPI_Comm_rank(comm_, &rank_);
    MPI_Comm_size(comm_, &size_);
    greetings_.resize(static_cast<std::size_t>(size_));
    listen();
  }

  MPI_Comm comm() const { return comm_; }
  int rank() const { return rank_; }
  int size() const { return size_; }

  void close() {
    const std::lock_guard lock(mutex_);
    if (!failure_.empty()) {
      return;  // others may never come: leave it to the launcher
    }
    MPI_Cancel(&listening_);
    MPI_Request_free(&listening_);
    MPI_Comm_free(&comm_);
  }

  void all_reduce(const Buffer& buffer, ReduceOp op);
  void reduce_scatter(const Buffer& in, const Buffer& out, ReduceOp op);
  void all_gather(const Buffer& in, const Buffer& out);
  void broadcast(const Buffer& buffer, int root);
  void barrier() { meet(Call{}, nullptr, 0); }

  /// Callable from any thread: marks the group as over; the MPI thread tells the others at its next
  /// look.
  void abort(std::string_view sentence) {
    const std::lock_guard lock(mutex_);
    if (failure_.empty()) {
      failure_ = sentence;
      must_tell_ = true;
    }
  }

  void check() {
    look();
    const std::lock_guard lock(mutex_);
    if (!failure_.empty()) {
      throw Error(Fault::communication, failure_);
    }
  }
  void tell_others();

 private:
  void listen() {
    MPI_Irecv(heard_.data(), static_cast<int>(heard_.size()), MPI_CHAR, MPI_ANY_SOURCE, abort_tag,
              comm_, &listening_);
  }
  void look();
  void wait(std::vector<MPI_Request>& requests);
  void wait(MPI_Request request);
  Call call_of(Call::Kind kind, const Buffer& buffer, ReduceOp op, int root) const;
  void meet(const Call& call, const void* payload, std::size_t bytes);
  void compare_calls();
  bool is_small(const Buffer& buffer) const { return buffer.bytes() <= sizeof(Greeting::payload); }
  void exchange_and_reduce(const std::function<std::byte*(int rank)>& part_of,
                           const std::function<std::size_t(int rank)>& bytes_of, std::byte* result,
                           const Buffer& like, ReduceOp op);
  void spread(const std::function<std::byte*(int rank)>& part_of,
              const std::function<std::size_t(int rank)>& bytes_of);
  void send(const void* data, std::size_t bytes, int to, std::vector<MPI_Request>& requests);
  void receive(void* data, std::size_t bytes, int from, std::vector<MPI_Request>& requests);

  MPI_Comm comm_;
  RankSlot* flight_;
  int rank_ = 0;
  int size_ = 1;
  std::uint64_t operations_ = 0;
  std::vector<Greeting> greetings_;
  std::vector<std::byte> incoming_;
  Words heard_{};
  Words told_{};
  MPI_Request listening_ = MPI_REQUEST_NULL;
  std::mutex mutex_;
  std::string failure_;
  bool must_tell_ = false;
};

void MpiCommunicator::Engine::look() {
  int heard = 0;
  if (listening_ != MPI_REQUEST_NULL) {
    MPI_Test(&listening_, &heard, MPI_STATUS_IGNORE);
  }
  if (heard != 0) {
    const std::lock_guard lock(mutex_);
    failure_ = failure_.empty() ? read_shared(heard_) : failure_;
  }
  tell_others();
}

/// Sends are not waited for: a rank that has gone would keep us.
void MpiCommunicator::Engine::tell_others() {
  const std::lock_guard lock(mutex_);
  if (!std::exchange(must_tell_, false)) {
    return;
  }
  write_shared(told_, failure_);
  for (int other = 0; other < size_; ++other) {
    MPI_Request request = MPI_REQUEST_NULL;
    if (other != rank_) {
      MPI_Isend(told_.data(), static_cast<int>(told_.size()), MPI_CHAR, other, abort_tag, comm_,
                &request);
    }
    if (request != MPI_REQUEST_NULL) {
      MPI_Request_free(&request);
    }
  }
}

void MpiCommunicator::Engine::wait(std::vector<MPI_Request>& requests) {
  for (unsigned turn = 1;; ++turn) {
    int done = 0;
    check_mpi(
        MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done, MPI_STATUSES_IGNORE),
        "MPI_Testall");
    if (done != 0) {
      requests.clear();
      return;
    }
    if (turn % 64 == 0) {
      check();
      std::this_thread::yield();
    }
  }
}

void MpiCommunicator::Engine::wait(MPI_Request request) {
  std::vector<MPI_Request> requests{request};
  wait(requests);
}

Call MpiCommunicator::Engine::call_of(Call::Kind kind, const Buffer& buffer, ReduceOp op,
                                      int root) const {
  Call call;
  call.kind = kind;
  call.count = buffer.count;
  call.dtype = buffer.dtype;
  call.op = op;
  call.root = root;
  return call;
}

void MpiCommunicator::Engine::meet(const Call& call, const void* payload, std::size_t bytes) {
  ++operations_;
  check();
  const FlightScope scope(flight_, flight_name(call), call.count * size_of(call.dtype));
  Greeting mine{.call = call, .payload = {}};
  if (bytes > 0) {
    std::memcpy(mine.payload.data(), payload, bytes);
  }
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Iallgather(&mine, sizeof mine, MPI_BYTE, greetings_.data(), sizeof mine, MPI_BYTE,
                           comm_, &request),
            "MPI_Iallgather");
  wait(request);
  compare_calls();
}

void MpiCommunicator::Engine::compare_calls() {
  const auto& first = greetings_[0].call;
  for (int other = 1; other < size_; ++other) {
    const auto& its = greetings_[static_cast<std::size_t>(other)].call;
    if (!its.agrees_with(first)) {
      const auto sentence = fmt::format(
          "operation {}: rank {} calls {} where rank 0 calls {}; every rank must call the same",
          operations_, other, describe(its), describe(first));
      const std::lock_guard lock(mutex_);
      failure_ = sentence;
      throw Error(Fault::communication, sentence);
    }
  }
}

void MpiCommunicator::Engine::send(const void* data, std::size_t bytes, int to,
                                   std::vector<MPI_Request>& requests) {
  requests.push_back(MPI_REQUEST_NULL);
  check_mpi(
      MPI_Isend(data, static_cast<int>(bytes), MPI_BYTE, to, data_tag, comm_, &requests.back()),
      "MPI_Isend");
}

void MpiCommunicator::Engine::receive(void* data, std::size_t bytes, int from,
                                      std::vector<MPI_Request>& requests) {
  requests.push_back(MPI_REQUEST_NULL);
  check_mpi(
      MPI_Irecv(data, static_cast<int>(bytes), MPI_BYTE, from, data_tag, comm_, &requests.back()),
      "MPI_Irecv");
}

/// Sends every rank its part, receives all versions of the own part and reduces them in rank order
/// into `result`.
void MpiCommunicator::Engine::exchange_and_reduce(const std::function<std::byte*(int)>& part_of,
                                                  const std::function<std::size_t(int)>& bytes_of,
                                                  std::byte* result, const Buffer& like,
                                                  ReduceOp op) {
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
void MpiCommunicator::Engine::spread(const std::function<std::byte*(int)>& part_of,
                                     const std::function<std::size_t(int)>& bytes_of) {
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

void MpiCommunicator::Engine::all_reduce(const Buffer& buffer, ReduceOp op) {
  const bool small = is_small(buffer);
  meet(call_of(Call::Kind::all_reduce, buffer, op, 0), buffer.data, small ? buffer.bytes() : 0);
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

void MpiCommunicator::Engine::reduce_scatter(const Buffer& in, const Buffer& out, ReduceOp op) {
  meet(call_of(Call::Kind::reduce_scatter, in, op, 0), nullptr, 0);
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

void MpiCommunicator::Engine::all_gather(const Buffer& in, const Buffer& out) {
  meet(call_of(Call::Kind::all_gather, in, ReduceOp::sum, 0), nullptr, 0);
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

void MpiCommunicator::Engine::broadcast(const Buffer& buffer, int root) {
  const bool small = is_small(buffer);
  meet(call_of(Call::Kind::broadcast, buffer, ReduceOp::sum, root), buffer.data,
       small ? buffer.bytes() : 0);
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

/// An operation on the MPI thread.
class MpiCommunicator::Pending final : public Work::State {
 public:
  Pending(std::future<void> future, std::shared_ptr<Engine> engine)
      : future_(std::move(future)), engine_(std::move(engine)) {}
  void wait() override { future_.get(); }
  bool done() override {
    return future_.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  }
  void dropped() noexcept override {
    log::error(dropped_work);
    engine_->abort(fmt::format("rank {} aborted: {}", engine_->rank(), dropped_work));
  }

 private:
  std::future<void> future_;
  std::shared_ptr<Engine> engine_;
};

MpiCommunicator::MpiCommunicator(MpiWorld& world, MPI_Comm comm, LocalPlace place, RankSlot* flight)
    : world_(world), place_(place) {
  world_.run([&] { engine_ = std::make_shared<Engine>(comm, flight); });
  rank_ = engine_->rank();
  size_ = engine_->size();
}

MpiCommunicator::~MpiCommunicator() {
  world_.post([engine = engine_] { engine->close(); });
}

Work MpiCommunicator::start(std::function<void(Engine&)> operation) {
  auto future = world_.post([engine = engine_, operation = std::move(operation)] {
    engine->check();
    operation(*engine);
  });
  return Work(std::make_unique<Pending>(std::move(future), engine_));
}

Work MpiCommunicator::all_reduce(Buffer buffer, ReduceOp op) {
  check_host(buffer);
  return start([=](Engine& engine) { engine.all_reduce(buffer, op); });
}

Work MpiCommunicator::reduce_scatter(Buffer in, Buffer out, ReduceOp op) {
  check_scatter(in, out, size_);
  return start([=](Engine& engine) { engine.reduce_scatter(in, out, op); });
}

Work MpiCommunicator::all_gather(Buffer in, Buffer out) {
  check_gather(in, out, size_);
  return start([=](Engine& engine) { engine.all_gather(in, out); });
}

Work MpiCommunicator::broadcast(Buffer buffer, int root) {
  check_root(buffer, root, size_);
  return start([=](Engine& engine) { engine.broadcast(buffer, root); });
}

void MpiCommunicator::barrier() {
  start([](Engine& engine) { engine.barrier(); }).wait();
}

std::unique_ptr<Communicator> MpiCommunicator::split(int colour, int key) {
  barrier();  // a group that is over must say so rather than hang
  MPI_Comm part = MPI_COMM_NULL;
  LocalPlace place;
  world_.run([&] {
    check_mpi(MPI_Comm_split(engine_->comm(), colour < 0 ? MPI_UNDEFINED : colour, key, &part),
              "MPI_Comm_split");
    MPI_Comm local = MPI_COMM_NULL;
    if (part != MPI_COMM_NULL) {
      check_mpi(MPI_Comm_split_type(part, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &local),
                "MPI_Comm_split_type");
      MPI_Comm_rank(local, &place.rank);
      MPI_Comm_size(local, &place.size);
      MPI_Comm_free(&local);
    }
  });
  return part == MPI_COMM_NULL ? nullptr : std::make_unique<MpiCommunicator>(world_, part, place);
}

void MpiCommunicator::abort(std::string_view why) noexcept {
  try {
    engine_->abort(fmt::format("rank {} aborted: {}", rank_, why));
    world_.post([engine = engine_] { engine->tell_others(); });
  } catch (...) {
    log::error("abort: the MPI thread is gone");
  }
}

}  // namespace muster
