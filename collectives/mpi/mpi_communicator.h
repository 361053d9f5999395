/// MpiCommunicator: collectives over MPI, between any ranks and on any memory of the host.
/// Reductions exchange ranges directly and sum them in rank order, 16-bit floats in float32, so
/// that the bits are those of shared memory: each rank sends and receives 2 (n-1)/n of the bytes.
/// Operations run on the MPI thread while the caller goes on, until wait().
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "collectives/mpi/mpi_engine.h"
#include "collectives/mpi/mpi_world.h"
#include "runtime/comm/communicator.h"
#include "runtime/comm/control_page.h"

namespace muster {

/// Which ranks of a communicator share a machine with the caller.
struct LocalPlace {
  int rank = 0;
  int size = 1;
};

class MpiCommunicator final : public Communicator {
 public:
  /// Collective. Takes `comm` over and frees it; `world` must outlive it, and finish() must come
  /// after. `watch` sees the ranks of this machine die: MPI itself would wait for them for ever.
  MpiCommunicator(MpiWorld& world, MPI_Comm comm, LocalPlace place, RankSlot* flight = nullptr,
                  PeerWatch watch = {});
  ~MpiCommunicator() override;

  int rank() const noexcept override { return rank_; }
  int size() const noexcept override { return size_; }
  int local_rank() const noexcept override { return place_.rank; }
  int local_size() const noexcept override { return place_.size; }
  Work all_reduce(Buffer buffer, ReduceOp op) override;
  Work reduce_scatter(Buffer in, Buffer out, ReduceOp op) override;
  Work all_gather(Buffer in, Buffer out) override;
  Work broadcast(Buffer buffer, int root) override;
  void barrier() override;
  std::unique_ptr<Communicator> split(int colour, int key) override;
  void abort(std::string_view why) noexcept override;
  /// Collective: throws on every rank, naming them, unless all are about to make the same call.
  void agree(const Call& call);
  /// As abort(), with a sentence that says itself whose fault it is.
  void fail(std::string_view sentence) noexcept;

 private:
  class Pending;
  Work start(std::function<void(MpiEngine&)> operation);

  MpiWorld& world_;
  int rank_ = 0;
  int size_ = 1;
  LocalPlace place_;
  PeerWatch watch_;
  std::shared_ptr<MpiEngine> engine_;  // also held by operations under way
};

}  // namespace muster
