// SPDX-License-Identifier: Apache-2.0
#include "collectives/node/shared_barrier.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>

#include "collectives/node/shared_text.h"
#include "runtime/base/error.h"
#include "runtime/base/pause.h"

namespace muster {
namespace {

using std::chrono::milliseconds;
using SteadyClock = std::chrono::steady_clock;

constexpr milliseconds longest_spin(2);
constexpr milliseconds longest_sleep(50);    // between two looks for the dead
constexpr milliseconds shortest_window(20);  // of the tuner
constexpr std::uint64_t fewest_in_window = 32;

// Not FUTEX_PRIVATE: the word is shared by processes.
void futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
                milliseconds at_most) {
  const timespec timeout{.tv_sec = 0, .tv_nsec = std::chrono::nanoseconds(at_most).count()};
  ::syscall(SYS_futex, &word, FUTEX_WAIT, expected, &timeout, nullptr, 0);
}

void futex_wake_all(const std::atomic<std::uint32_t>& word) noexcept {
  ::syscall(SYS_futex, &word, FUTEX_WAKE, INT32_MAX, nullptr, nullptr, 0);
}

}  // namespace

SharedBarrier::SharedBarrier(GroupBlock& block, int member, int size, bool core_each, Watch& watch)
    : block_(block),
      watch_(watch),
      tuner_(core_each),
      policy_(WaitPolicy::sleep),
      member_(member),
      size_(size),
      window_start_(SteadyClock::now()) {
  require(size <= GroupBlock::most_members, "at most 256 ranks on one machine");
  if (member == 0) {
    block_.policy.store(tuner_.policy(), std::memory_order_relaxed);
  }
}

void SharedBarrier::arrive_and_wait() {
  check();
  follow_policy();
  if (member_ == 0) {
    tune();
  }
  ++barriers_;
  block_.members[static_cast<std::size_t>(member_)].arrivals.store(barriers_,
                                                                   std::memory_order_relaxed);
  const auto size = static_cast<std::uint64_t>(size_);
  const std::uint64_t ticket = block_.arrivals.fetch_add(1, std::memory_order_acq_rel);
  const auto round = static_cast<std::uint32_t>(ticket / size);
  if (ticket % size + 1 < size) {
    wait_for(round);
    return;
  }
  // seq_cst here and in sleep(): either the sleeper sees the new round or we see the sleeper.
  block_.round.store(round + 1, std::memory_order_seq_cst);
  if (block_.sleepers.load(std::memory_order_seq_cst) != 0) {
    futex_wake_all(block_.round);
  }
}

void SharedBarrier::follow_policy() {
  const auto policy = block_.policy.load(std::memory_order_relaxed);
  if (policy != policy_) {
    policy_ = policy;
    watch_.follow(policy);
  }
}

void SharedBarrier::tune() {
  if (++window_barriers_ < fewest_in_window || window_barriers_ % 16 != 0) {
    return;
  }
  const auto now = SteadyClock::now();
  if (now - window_start_ < shortest_window) {
    return;
  }
  const auto spins = block_.exhausted_spins.load(std::memory_order_relaxed);
  const auto each =
      static_cast<double>((now - window_start_).count()) / static_cast<double>(window_barriers_);
  block_.policy.store(tuner_.window_ended(each, spins - window_spins_), std::memory_order_relaxed);
  window_barriers_ = 0;
  window_spins_ = spins;
  window_start_ = now;
}

void SharedBarrier::wait_for(std::uint32_t round) {
  Monotonic start{};
  if (policy_ == WaitPolicy::sleep) {
    start = SteadyClock::now();
  } else if (spin(round, start)) {
    if (start != Monotonic{}) {
      waited_ += SteadyClock::now() - start;
    }
    return;
  } else {
    block_.exhausted_spins.fetch_add(1, std::memory_order_relaxed);
  }
  sleep(round);
  waited_ += SteadyClock::now() - start;
}

/// The clock is read only once the wait is longer than a few pauses: most waits of a tight loop are
/// not.
bool SharedBarrier::spin(std::uint32_t round, Monotonic& start) {
  for (unsigned turn = 1; block_.round.load(std::memory_order_acquire) == round; ++turn) {
    cpu_pause();
    if (turn % 32 != 0) {
      continue;
    }
    const auto now = SteadyClock::now();
    if (start == Monotonic{}) {
      start = now;
    }
    if (now - start > longest_spin) {
      return false;
    }
  }
  return true;
}

void SharedBarrier::sleep(std::uint32_t round) {
  block_.sleepers.fetch_add(1, std::memory_order_seq_cst);
  try {
    while (block_.round.load(std::memory_order_seq_cst) == round) {
      const auto asleep = SteadyClock::now();
      futex_wait(block_.round, round, longest_sleep);
      if (block_.failed.load(std::memory_order_acquire) != 0 ||
          SteadyClock::now() - asleep >= longest_sleep) {
        look_around(round);
      }
    }
  } catch (...) {
    block_.sleepers.fetch_sub(1, std::memory_order_relaxed);
    throw;
  }
  block_.sleepers.fetch_sub(1, std::memory_order_relaxed);
}

/// The dead before those who left: a rank that leaves may do so because another died.
void SharedBarrier::look_around(std::uint32_t round) {
  auto sentence = first_trouble(false);
  if (sentence.empty()) {
    sentence = first_trouble(true);
  }
  // A peer that completed this round and left afterwards is no trouble.
  if (block_.round.load(std::memory_order_acquire) != round) {
    return;
  }
  if (!sentence.empty()) {
    fail(sentence);
  }
  check();
}

std::string SharedBarrier::first_trouble(bool of_missing) {
  for (int member = 0; member < size_; ++member) {
    const auto& arrivals = block_.members[static_cast<std::size_t>(member)].arrivals;
    const bool missing = of_missing && arrivals.load(std::memory_order_relaxed) < barriers_;
    auto sentence = member == member_ ? std::string() : watch_.trouble(member, missing);
    if (!sentence.empty()) {
      return sentence;
    }
  }
  return {};
}

void SharedBarrier::fail(std::string_view sentence) noexcept {
  std::uint32_t none = 0;
  if (block_.failed.compare_exchange_strong(none, 1)) {
    write_shared(block_.failure, sentence);
    block_.failed.store(2, std::memory_order_release);
  }
  futex_wake_all(block_.round);
}

void SharedBarrier::check() const {
  if (block_.failed.load(std::memory_order_relaxed) == 0) [[likely]] {
    return;
  }
  // Whoever is writing the sentence is a few instructions from the end, unless it was killed there.
  const auto give_up = SteadyClock::now() + milliseconds(100);
  while (block_.failed.load(std::memory_order_acquire) != 2 && SteadyClock::now() < give_up) {
    ::usleep(100);
  }
  throw Error(Fault::communication, read_shared(block_.failure));
}

}  // namespace muster
