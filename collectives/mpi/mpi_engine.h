/// MpiEngine: the collectives of MpiCommunicator as the MPI thread runs them, start to end. Every
/// wait looks for the abort of another rank, and for a rank of this machine that has died.
/// Internal to collectives/mpi; all of it on the MPI thread, but for abort().
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mpi.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "collectives/node/call.h"
#include "runtime/comm/communicator.h"
#include "runtime/comm/control_page.h"

namespace muster {

/// A sentence when a rank that this one can see has died, else empty. Asked while waiting.
using PeerWatch = std::function<std::string()>;

class MpiEngine {
 public:
  /// Takes the communicator over.
  MpiEngine(MPI_Comm comm, RankSlot* flight, PeerWatch watch);
  /// Frees the communicator, unless the group has failed: others may never come.
  void close();

  MPI_Comm comm() const { return comm_; }
  int rank() const { return rank_; }
  int size() const { return size_; }

  void all_reduce(const Buffer& buffer, ReduceOp op);
  void reduce_scatter(const Buffer& in, const Buffer& out, ReduceOp op);
  void all_gather(const Buffer& in, const Buffer& out);
  void broadcast(const Buffer& buffer, int root);
  void barrier();
  /// Nothing but to hear that all ranks are about to do the same.
  void agree(const Call& call) { meet(call, nullptr, 0); }

  /// Callable from any thread: marks the group as over; the MPI thread tells the others at its next
  /// look.
  void abort(std::string_view sentence);
  /// Throws when the group is over.
  void check();
  void tell_others();

 private:
  /// What travels before every operation: what a rank is about to do, and its data if that is
  /// small.
  struct Greeting {
    Call call;
    std::array<std::byte, 192> payload;
  };
  using PartOf = std::function<std::byte*(int rank)>;
  using BytesOf = std::function<std::size_t(int rank)>;
  using Words = std::array<char, 512>;

  void look();
  void look_at_peers();
  void wait(std::vector<MPI_Request>& requests);
  void wait(MPI_Request request);
  void meet(const Call& call, const void* payload, std::size_t bytes);
  void compare_calls();
  bool is_small(const Buffer& buffer) const { return buffer.bytes() <= sizeof(Greeting::payload); }
  void exchange_and_reduce(const PartOf& part_of, const BytesOf& bytes_of, std::byte* result,
                           const Buffer& like, ReduceOp op);
  void spread(const PartOf& part_of, const BytesOf& bytes_of);
  void send(const void* data, std::size_t bytes, int to, std::vector<MPI_Request>& requests);
  void receive(void* data, std::size_t bytes, int from, std::vector<MPI_Request>& requests);

  MPI_Comm comm_;
  RankSlot* flight_;
  PeerWatch watch_;
  std::chrono::steady_clock::time_point watched_;
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

}  // namespace muster
