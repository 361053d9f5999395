/// TwoLevelCommunicator: ranks on several machines. An all-reduce sums in shared memory inside each
/// machine, over MPI between the equal local ranks of the machines (each its own share of the
/// bytes), and collects in shared memory again. Buffers in windows of the node are worked on where
/// they are; partial sums of 16-bit floats stay float32 on the way, and pass through a window of
/// ours. Sums run over local ranks, then over machines, in order.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "collectives/mpi/mpi_communicator.h"
#include "collectives/node/node_communicator.h"

namespace muster {

class TwoLevelCommunicator final : public Communicator {
 public:
  /// Collective. `node` must outlive it. `lane` joins the ranks with this local rank on all
  /// machines; all machines have equally many.
  TwoLevelCommunicator(std::unique_ptr<MpiCommunicator> world,
                       std::unique_ptr<MpiCommunicator> lane, LocalGroup& node,
                       RankSlot* flight = nullptr);
  ~TwoLevelCommunicator() override;

  int rank() const noexcept override { return world_->rank(); }
  int size() const noexcept override { return world_->size(); }
  int local_rank() const noexcept override { return node_.rank(); }
  int local_size() const noexcept override { return node_.size(); }
  Work all_reduce(Buffer buffer, ReduceOp op) override;
  Work reduce_scatter(Buffer in, Buffer out, ReduceOp op) override {
    return world_->reduce_scatter(in, out, op);
  }
  Work all_gather(Buffer in, Buffer out) override { return world_->all_gather(in, out); }
  Work broadcast(Buffer buffer, int root) override { return world_->broadcast(buffer, root); }
  void barrier() override { world_->barrier(); }
  std::unique_ptr<Communicator> split(int colour, int key) override {
    return world_->split(colour, key);
  }
  void abort(std::string_view why) noexcept override;
  /// The equal local ranks of all machines: what a step reduces its range with, between two
  /// barriers of the node.
  Communicator& lane() noexcept { return *lane_; }

 private:
  void reduce_large(const Buffer& buffer, ReduceOp op);
  void reduce_widened(const Buffer& piece, ReduceOp op);
  void reduce_even(const Buffer& whole, ReduceOp op, int divisor);
  std::byte* room() const;
  void fail(std::string_view sentence) noexcept;

  std::unique_ptr<MpiCommunicator> world_;
  std::unique_ptr<MpiCommunicator> lane_;
  LocalGroup& node_;
  RankSlot* flight_;
  NodeCommunicator inside_;
  std::unique_ptr<SharedMemory> window_;
};

}  // namespace muster
