/// SharedBarrier: where the ranks of one machine meet, in memory they share. Spins or sleeps as a
/// WaitTuner finds faster. GroupBlock is its memory: all zero is a fresh one. Not thread-safe, but
/// for fail().
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "collectives/node/wait_tuner.h"
#include "runtime/base/clock.h"

namespace muster {

struct GroupBlock {
  static constexpr int most_members = 256;

  struct alignas(64) Member {
    std::atomic<std::uint64_t> arrivals{
        0};  ///< which barrier this one has reached: names who is missing
  };

  /// Arrivals only grow; the one that completes a round publishes it. One line: the last arrival
  /// already owns it when it writes.
  alignas(64) std::atomic<std::uint64_t> arrivals{0};
  std::atomic<std::uint32_t> round{0};  ///< the futex word
  alignas(64) std::atomic<std::uint32_t> sleepers{0};
  std::atomic<std::uint32_t> exhausted_spins{0};
  alignas(64) std::atomic<WaitPolicy> policy{WaitPolicy::spin};
  std::atomic<std::uint32_t> failed{0};  ///< 0 no, 1 being written, 2 written
  std::array<char, 1024> failure{};
  /// How share() hands a window round: written by member 0 before a barrier, or by whoever fails.
  alignas(64) std::atomic<std::uint32_t> window{
      0};  ///< a number that no other window of this machine's ranks has
  std::atomic<std::uint32_t> window_failed{0};
  std::array<char, 128> window_name{};
  std::array<char, 1024> window_failure{};
  std::array<Member, most_members> members{};
};

/// What a wait asks of the world now and then.
class Watch {
 public:
  virtual ~Watch() = default;
  /// A sentence when one of the group has died or given up, empty otherwise. `missing` says whether
  /// a member has not arrived.
  virtual std::string trouble(int member, bool missing) = 0;
  /// The policy has changed: pin this process to its cores or set it free.
  virtual void follow(WaitPolicy policy) = 0;
};

class SharedBarrier {
 public:
  SharedBarrier(GroupBlock& block, int member, int size, bool core_each, Watch& watch);

  /// Throws Error(communication) with the sentence of fail() or of the watch.
  void arrive_and_wait();
  /// Ends all waits, here and in the other ranks, now and ever after. The first sentence wins.
  void fail(std::string_view sentence) noexcept;
  /// Throws if the group has failed.
  void check() const;
  Nanoseconds waited() const noexcept { return waited_; }
  int member() const noexcept { return member_; }
  int size() const noexcept { return size_; }
  GroupBlock& block() const noexcept { return block_; }

 private:
  void follow_policy();
  void tune();
  void wait_for(std::uint32_t round);
  bool spin(std::uint32_t round, Monotonic& start);
  void sleep(std::uint32_t round);
  void look_around(std::uint32_t round);
  std::string first_trouble(bool of_missing);

  GroupBlock& block_;
  Watch& watch_;
  WaitTuner tuner_;
  WaitPolicy policy_;
  int member_;
  int size_;
  std::uint64_t barriers_ = 0;
  std::uint64_t window_barriers_ = 0;
  std::uint32_t window_spins_ = 0;
  Monotonic window_start_;
  Nanoseconds waited_{0};
};

}  // namespace muster
