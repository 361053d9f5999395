// SPDX-License-Identifier: Apache-2.0
#include "collectives/mpi/mpi_communicator.h"

#include <fmt/format.h>

#include <chrono>

#include "collectives/node/checked_work.h"
#include "runtime/base/error.h"
#include "runtime/comm/check_buffers.h"

namespace muster {

/// An operation on the MPI thread.
class MpiCommunicator::Pending final : public Work::State {
 public:
  Pending(std::future<void> future, std::shared_ptr<MpiEngine> engine)
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
  std::shared_ptr<MpiEngine> engine_;
};

MpiCommunicator::MpiCommunicator(MpiWorld& world, MPI_Comm comm, LocalPlace place, RankSlot* flight,
                                 PeerWatch watch)
    : world_(world), place_(place), watch_(watch) {
  world_.run([&] { engine_ = std::make_shared<MpiEngine>(comm, flight, watch); });
  rank_ = engine_->rank();
  size_ = engine_->size();
}

/// What the watch looks at may go next: operations that were dropped come to their end first.
MpiCommunicator::~MpiCommunicator() {
  world_.post([engine = engine_] { engine->close(); }).wait_for(std::chrono::seconds(5));
}

Work MpiCommunicator::start(std::function<void(MpiEngine&)> operation) {
  auto future = world_.post([engine = engine_, operation = std::move(operation)] {
    engine->check();
    operation(*engine);
  });
  return Work(std::make_unique<Pending>(std::move(future), engine_));
}

Work MpiCommunicator::all_reduce(Buffer buffer, ReduceOp op) {
  check_host(buffer);
  return start([=](MpiEngine& engine) { engine.all_reduce(buffer, op); });
}

Work MpiCommunicator::reduce_scatter(Buffer in, Buffer out, ReduceOp op) {
  check_scatter(in, out, size_);
  return start([=](MpiEngine& engine) { engine.reduce_scatter(in, out, op); });
}

Work MpiCommunicator::all_gather(Buffer in, Buffer out) {
  check_gather(in, out, size_);
  return start([=](MpiEngine& engine) { engine.all_gather(in, out); });
}

Work MpiCommunicator::broadcast(Buffer buffer, int root) {
  check_root(buffer, root, size_);
  return start([=](MpiEngine& engine) { engine.broadcast(buffer, root); });
}

void MpiCommunicator::barrier() {
  start([](MpiEngine& engine) { engine.barrier(); }).wait();
}

void MpiCommunicator::agree(const Call& call) {
  start([=](MpiEngine& engine) { engine.agree(call); }).wait();
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
  return part == MPI_COMM_NULL
             ? nullptr
             : std::make_unique<MpiCommunicator>(world_, part, place, nullptr, watch_);
}

void MpiCommunicator::abort(std::string_view why) noexcept {
  try {
    fail(fmt::format("rank {} aborted: {}", rank_, why));
  } catch (...) {
    fail("a rank aborted");
  }
}

void MpiCommunicator::fail(std::string_view sentence) noexcept {
  try {
    engine_->abort(sentence);
    world_.post([engine = engine_] { engine->tell_others(); });
  } catch (...) {
    log::error("abort: the MPI thread is gone");
  }
}

}  // namespace muster
