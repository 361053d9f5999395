/// ControlPage: what the ranks of one machine and the program that started them tell each other, in
/// shared memory that outlives a rank. All fields are atomics or are written once before a release
/// store, so a reader never needs the writer alive. Lock-free.
///
/// The supervisor (or the node's rank 0 under mpirun and srun) creates it as a memfd; others map it
/// by the path that MUSTER_LAUNCH names:
///   MUSTER_LAUNCH="rank=1 size=2 local_rank=1 local_size=2 control=/proc/4711/fd/5"
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "runtime/base/handle.h"

namespace muster {

/// What a rank is doing. A supervisor that sees no change for too long names it in its message.
enum class Phase : std::uint32_t {
  starting,
  loading,
  data,
  compute,
  exchange,
  evaluate,
  checkpoint,
  finishing,
  finished
};
std::string_view name_of(Phase phase);

/// Why a run should end early, in order of arrival; the earliest deadline wins.
enum class Notice : std::uint32_t {
  none,
  preempted,
  interrupted,
  stopped,
  time_limit,
  cloud,
  file
};

/// One operation of the flight record. `end_ns` 0: never left it.
struct FlightEntry {
  std::atomic<std::uint64_t> sequence{0};  ///< 1 for the first; 0: empty
  std::atomic<std::int64_t> start_ns{0};
  std::atomic<std::int64_t> end_ns{0};
  std::atomic<std::uint64_t> bytes{0};
  std::array<char, 32> operation{};  ///< "all_reduce float32"
};

/// What one rank publishes. Times are CLOCK_MONOTONIC nanoseconds of this machine.
struct RankSlot {
  static constexpr std::size_t flight_length = 1024;
  std::atomic<std::int32_t> pid{0};
  std::atomic<std::int32_t> global_rank{-1};
  std::atomic<std::uint64_t> step{0};
  std::atomic<Phase> phase{Phase::starting};
  std::atomic<std::int64_t> phase_since_ns{0};
  std::atomic<std::int64_t> step_ns{0};  ///< smoothed time of a step
  /// Set to 1 by the rank when its error is complete; the earliest time over all ranks is the
  /// cause, the rest are consequences.
  std::atomic<std::uint32_t> failed{0};
  std::atomic<std::int64_t> failed_ns{0};
  std::atomic<std::int32_t> fault{0};
  std::array<char, 2048> error{};
  std::atomic<std::uint64_t> flight_count{0};
  std::array<FlightEntry, flight_length> flight{};
};

/// What all share.
struct ControlHeader {
  static constexpr std::uint64_t magic_value =
      0x3152455453554d00;  // "MUSTER1", also the layout's version
  std::uint64_t magic = 0;
  std::int32_t slots = 0;
  std::atomic<std::int32_t> supervisor_pid{0};
  // A request to stop: whoever learns of it first writes it; local rank 0 turns it into
  // `stop_after_step` between two barriers, so that all ranks read the same step (no collective of
  // its own).
  std::atomic<Notice> notice{Notice::none};
  std::atomic<std::int64_t> deadline_ns{0};  ///< 0: unknown
  std::atomic<std::uint32_t> checkpoint_hint{
      0};  ///< counts CONT: save at the next boundary and go on
  std::atomic<std::uint64_t> stop_after_step{~std::uint64_t{0}};
  std::atomic<std::uint32_t> aborted{0};  ///< 1 + rank of who called abort()
  std::array<char, 512> abort_reason{};
  std::atomic<std::uint64_t> last_checkpoint_step{0};
  std::atomic<std::int64_t> last_checkpoint_ns{0};
  /// Room for the node group of collectives/shm, which lays its own structure here: zero until
  /// ranks join.
  alignas(64) std::array<std::byte, 131072> node_group{};
};

/// A mapping of the page. Move-only; unmapped, not destroyed, when it goes.
class ControlPage {
 public:
  /// Makes the page for `slots` ranks. `path()` is how others of this user reach it while this
  /// process lives.
  static ControlPage create(int slots);
  static ControlPage open(const std::string& path);
  /// For who looks on from outside: nothing while the page is still being made, nor when its maker
  /// has ended.
  static std::optional<ControlPage> open_if_made(const std::string& path);
  ControlPage(ControlPage&& other) noexcept;
  ControlPage& operator=(ControlPage&& other) noexcept;
  ~ControlPage();

  ControlHeader& header() noexcept;
  RankSlot& slot(int local_rank);
  int slots() const noexcept;
  std::string path() const;  ///< "/proc/PID/fd/N" of this process
  int descriptor() const noexcept { return descriptor_.get(); }

 private:
  ControlPage(Descriptor descriptor, void* base, std::size_t bytes);
  static ControlPage adopt(Descriptor descriptor, const std::string& path);
  Descriptor descriptor_;
  void* base_ = nullptr;
  std::size_t bytes_ = 0;
};

/// Writes the slot's error once and stamps it. Safe to call twice: the first wins.
void record_failure(RankSlot& slot, int fault, std::string_view text) noexcept;
/// Nanoseconds of CLOCK_MONOTONIC, the time base of the page.
std::int64_t monotonic_ns() noexcept;

/// The flight record: an operation's start and end in a slot, two stores each. A null slot makes
/// both no-ops. An entry is written over after 1,024 more operations.
FlightEntry* begin_flight(RankSlot* slot, std::string_view operation, std::uint64_t bytes) noexcept;
void end_flight(FlightEntry* entry) noexcept;

/// Marks an operation that lasts as long as this object.
class FlightScope {
 public:
  FlightScope(RankSlot* slot, std::string_view operation, std::uint64_t bytes) noexcept
      : entry_(begin_flight(slot, operation, bytes)) {}
  ~FlightScope() { end_flight(entry_); }
  FlightScope(const FlightScope&) = delete;
  FlightScope& operator=(const FlightScope&) = delete;

 private:
  FlightEntry* entry_;
};

}  // namespace muster
