/// NcclCommunicator: collectives on GPU memory, on a stream of its own, ordered with the caller's
/// compute stream by events. An operation starts after what compute had queued when it was called;
/// Work::wait() makes compute wait for it, and never the host.
///
/// A watchdog thread looks for asynchronous errors and for operations past their deadline; it names
/// the operation and the rank, aborts NCCL and tells the other ranks through the host group. NCCL's
/// own max and min may drop a NaN; sum and mean keep it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "collectives/nccl/nccl_table.h"
#include "runtime/base/error.h"
#include "runtime/comm/communicator.h"
#include "runtime/comm/control_page.h"

namespace muster {

struct NcclOptions {
  int device = 0;
  nccl::Stream compute =
      nullptr;  ///< the stream whose work comes before and after; null: the default stream
  std::chrono::milliseconds start_deadline{120000};  ///< to connect all ranks, and to close
  std::chrono::milliseconds deadline{600000};        ///< for one operation, from its call
  std::chrono::milliseconds look_every{100};
  /// Asked at every look: a sentence when another rank has failed or the machine's control page
  /// says so, empty otherwise. NCCL wants all ranks aborted, not the first alone.
  std::function<std::string()> trouble_elsewhere;
  /// Each rank had a GPU of its own before: two on one are the machine's fault then, not the
  /// user's.
  bool had_own = false;
};

class NcclCommunicator final : public Communicator {
 public:
  /// Collective over `host`, which carries the connection's id, split() and abort(), and must
  /// outlive this. Refuses two ranks on one GPU.
  NcclCommunicator(const nccl::NcclTable& table, const nccl::CudaTable& cuda, Communicator& host,
                   NcclOptions options, RankSlot* flight = nullptr);
  /// Drains, finalises, waits with the deadline, else aborts. Logs, never throws.
  ~NcclCommunicator() override;
  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;

  int rank() const noexcept override { return host_.rank(); }
  int size() const noexcept override { return host_.size(); }
  int local_rank() const noexcept override { return host_.local_rank(); }
  int local_size() const noexcept override { return host_.local_size(); }
  Work all_reduce(Buffer buffer, ReduceOp op) override;
  Work reduce_scatter(Buffer in, Buffer out, ReduceOp op) override;
  Work all_gather(Buffer in, Buffer out) override;
  Work broadcast(Buffer buffer, int root) override;
  void barrier() override;  ///< of the hosts, after this rank's operations are over
  std::unique_ptr<Communicator> split(int colour, int key) override;
  void abort(std::string_view why) noexcept override;

  /// The group without these ranks, after a failure: only those who stay call it. `host` is the
  /// group of those who stay.
  std::unique_ptr<NcclCommunicator> without(std::span<const int> ranks, Communicator& host);
  /// Lets NCCL reach a buffer directly. False where the library cannot; then everything works as
  /// before.
  bool register_buffer(const Buffer& buffer);
  /// While compute is being captured into a CUDA graph: operations become part of it, so the
  /// watchdog must not look at their events, nor judge how long they take when it is played.
  void capture(bool is_on) { is_capturing_ = is_on; }

 private:
  struct Pending {
    std::string what;
    nccl::Event done;
    std::chrono::steady_clock::time_point deadline;
    FlightEntry* flight;
  };
  class Ordered;

  NcclCommunicator(const NcclCommunicator& parent, nccl::Comm comm, Communicator& host,
                   std::unique_ptr<Communicator> owned);
  void connect();
  void refuse_shared_gpus();
  Fault fault_of_sharing(std::size_t a, std::size_t b) const;
  void open_streams();
  void settle(std::string_view what, std::string_view remedy = "");
  nccl::Result ask(nccl::Result* state);
  template <class Call>
  Work issue(std::string_view name, const Buffer& buffer, Call&& call);
  void check(nccl::Result result, std::string_view what);
  std::string words_for(nccl::Result result) const;
  void check_cuda(int error, std::string_view what);
  void check_alive();
  nccl::Event new_event();
  void watch(const std::stop_token& stop);
  std::string trouble();
  void retire();
  void fail(const std::string& sentence) noexcept;
  void abort_nccl() noexcept;
  bool drain(std::chrono::milliseconds at_most);
  void close() noexcept;

  const nccl::NcclTable& table_;
  const nccl::CudaTable& cuda_;
  std::unique_ptr<Communicator> owned_host_;
  Communicator& host_;
  NcclOptions options_;
  RankSlot* flight_;
  nccl::Comm comm_ = nullptr;
  nccl::Stream stream_ = nullptr;
  std::uint64_t operations_ = 0;
  std::mutex calls_;   // a call and its answer, which ends it: one thread asks for that
  std::mutex asking_;  // a question to NCCL, or that its abort begins: it frees what would be asked
  std::mutex mutex_;   // pending_, made_, free_, failure_; never held while NCCL is called
  std::condition_variable_any changed_;
  std::deque<Pending> pending_;
  std::vector<nccl::Event> made_;  // all there are: an operation that fails gives none back
  std::vector<nccl::Event> free_;
  std::vector<void*> registered_;
  std::string failure_;
  std::atomic<bool> is_aborted_{false};
  std::atomic<bool> is_watched_{false};
  bool is_capturing_ = false;
  std::jthread watchdog_;
};

}  // namespace muster
