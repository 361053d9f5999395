/// NodeCommunicator: collectives of ranks that share memory, threads or processes.
/// Buffers that lie in windows of the group's share() are reduced where they are; others pass
/// through a window in pieces.
///
/// Bytes moved for an all-reduce of S bytes on n ranks in windows: n S read, n S written, once each
/// (W(n-1)/n^2 of bus bandwidth). Small ones take one barrier, larger ones two. Operations are over
/// when they return; their Work still has to be waited for.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "collectives/node/call.h"
#include "collectives/node/local_group.h"
#include "runtime/comm/communicator.h"
#include "runtime/comm/control_page.h"

namespace muster {

class NodeCommunicator final : public Communicator {
 public:
  /// Collective. `group` must outlive it; `flight` (or null) is where operations are recorded.
  explicit NodeCommunicator(LocalGroup& group, RankSlot* flight = nullptr);
  /// The same for a subgroup, which it keeps.
  explicit NodeCommunicator(std::unique_ptr<LocalGroup> group, RankSlot* flight = nullptr);
  ~NodeCommunicator() override;

  int rank() const noexcept override { return group_.rank(); }
  int size() const noexcept override { return group_.size(); }
  int local_rank() const noexcept override { return group_.rank(); }
  int local_size() const noexcept override { return group_.size(); }
  Work all_reduce(Buffer buffer, ReduceOp op) override;
  Work reduce_scatter(Buffer in, Buffer out, ReduceOp op) override;
  Work all_gather(Buffer in, Buffer out) override;
  Work broadcast(Buffer buffer, int root) override;
  void barrier() override;
  std::unique_ptr<Communicator> split(int colour, int key) override;
  void abort(std::string_view why) noexcept override { group_.abort(why); }
  LocalGroup& group() noexcept { return group_; }

 private:
  struct Slot;
  struct Range {
    std::size_t begin;
    std::size_t end;
    std::size_t count() const { return end - begin; }
  };

  Slot& slot(int rank) const;
  std::byte* staging(int rank) const;
  Call call_of(Call::Kind kind, const Buffer& buffer) const;
  WindowPlace place_of(const Buffer& buffer) const;
  void meet(const Call& call, const void* payload, std::size_t payload_bytes);
  void compare_calls() const;
  bool all_in_windows(WindowPlace Call::*place) const;
  std::byte* address(int rank, WindowPlace Call::*place, std::size_t bytes) const;
  Range range_of(int rank, std::size_t count) const;
  Work finished();

  void reduce_payloads(const Buffer& buffer, ReduceOp op);
  void reduce_in_windows(const Buffer& buffer, ReduceOp op);
  void reduce_in_pieces(const Buffer& buffer, ReduceOp op);
  void reduce_piece(std::byte* to, const Buffer& buffer, std::size_t count, ReduceOp op);
  void scatter_from_windows(const Buffer& in, const Buffer& out, ReduceOp op);
  void scatter_in_pieces(const Buffer& in, const Buffer& out, ReduceOp op);
  void gather_in_pieces(const Buffer& in, const Buffer& out);
  void broadcast_in_pieces(const Buffer& buffer, int root);

  std::unique_ptr<LocalGroup> owned_;
  LocalGroup& group_;
  RankSlot* flight_;
  std::unique_ptr<SharedMemory> memory_;
  std::uint64_t operations_ = 0;
  std::uint64_t pieces_ = 0;
};

}  // namespace muster
