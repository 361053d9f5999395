/// Persister: the thread that brings snapshots to the disk, one after the other, and the two slots
/// that they are taken into. One training thread talks to it. On rank 0 it also collects the other
/// ranks' parts and commits.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "runtime/base/clock.h"
#include "runtime/checkpoint/block_writer.h"
#include "runtime/checkpoint/checkpoint_store.h"
#include "runtime/checkpoint/interval.h"
#include "runtime/checkpoint/snapshot.h"

namespace muster {

struct PersistOptions {
  WriteOptions write;
  int keep = 3;
  int keep_best = 0;
  bool poison = false;  ///< overwrite a slot as soon as it is released: for tests
};

/// A snapshot on its way. `sequence` counts the saves that began, alike on all ranks.
struct SaveJob {
  Snapshot* snapshot = nullptr;
  std::function<void()> there;  ///< waits until the snapshot has all its bytes
  std::int64_t sequence = 0;
  Path temporary;
  double stall_seconds = 0;
};

class Persister {
 public:
  Persister(const CheckpointStore& store, Clock& clock, PersistOptions options);
  ~Persister();  ///< gives up what is under way
  Persister(const Persister&) = delete;
  Persister& operator=(const Persister&) = delete;

  /// New slots; nothing is under way.
  void set_plan(const std::shared_ptr<const Plan>& plan);
  const Plan& plan() const { return *plan_; }
  bool has_plan() const { return plan_ != nullptr; }
  void start_from_rate(double bytes_per_second);
  void will_remove(
      std::vector<Path> skipped);  ///< with the next commit: what recovery could not trust

  Snapshot* free_slot();  ///< null when both are busy
  void submit(SaveJob job);

  void wait_own();      ///< until this rank's part of everything submitted is written, or failed
  void wait_settled();  ///< rank 0: until everything submitted is committed or abandoned
  /// Rank 0: another rank has failed at `sequence`: nobody need wait for it.
  void abandon_up_to(std::int64_t sequence);
  std::int64_t last_own_failure() const;  ///< a sequence; 0 for none

  struct State {
    std::optional<std::int64_t> last_committed;  ///< step
    std::uint64_t committed = 0;
    std::uint64_t failed = 0;
    std::string last_problem;  ///< of the last job settled; empty when it went well
    std::optional<SaveCost> cost;
    Path last_path;
  };
  State state() const;
  void set_last_committed(std::int64_t step);
  double seconds_under_way() const;  ///< until the disk has what was submitted, as it looks
  double seconds_to_persist(std::uint64_t bytes) const;  ///< at the slowest of late

 private:
  void work(const std::stop_token& stop);
  void settle(SaveJob& job, const std::stop_token& stop);
  std::vector<Block> write_own(SaveJob& job, const std::stop_token& stop);
  Path collect_and_commit(const SaveJob& job, const CheckpointInfo& info, std::vector<Block> blocks,
                          const std::stop_token& stop);
  void release(Snapshot* snapshot);
  void mark_written(const SaveJob& job, const std::string& problem);
  void note(const SaveJob& job, std::int64_t step, const std::string& problem, Monotonic begun,
            const Path& path);
  void clean_up(const SaveJob& job, bool is_committed);
  void mark_settled(const SaveJob& job);

  CheckpointStore store_;
  Clock& clock_;
  PersistOptions options_;
  std::shared_ptr<const Plan> plan_;
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  std::array<std::unique_ptr<Snapshot>, 2> slots_;
  std::array<bool, 2> busy_{};
  std::deque<SaveJob> queue_;
  std::int64_t submitted_ = 0, written_ = 0, settled_ = 0, abandoned_ = 0, own_failure_ = 0;
  std::uint64_t bytes_under_way_ = 0;
  std::deque<double> rates_;  // bytes per second of late
  std::vector<Path> skipped_;
  State state_;
  std::jthread thread_;  // last: ends before what it uses
};

}  // namespace muster
