// SPDX-License-Identifier: Apache-2.0
#include "collectives/shm/robust_peers.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

#include "collectives/node/cpu_shares.h"
#include "collectives/node/shared_text.h"
#include "runtime/base/error.h"

namespace muster {
namespace {

void make_robust(pthread_mutex_t& mutex) {
  pthread_mutexattr_t attributes;
  ::pthread_mutexattr_init(&attributes);
  ::pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  ::pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  const int error = ::pthread_mutex_init(&mutex, &attributes);
  ::pthread_mutexattr_destroy(&attributes);
  if (error != 0) {
    throw_errno("make the mutex that tells whether this rank lives", error);
  }
}

/// " in all_reduce float32 (operation 481)", or nothing when it was in none.
std::string last_operation(RankSlot& slot) {
  const auto count = slot.flight_count.load(std::memory_order_acquire);
  if (count == 0) {
    return {};
  }
  const auto& entry = slot.flight[(count - 1) % RankSlot::flight_length];
  return entry.end_ns.load() != 0
             ? ""
             : fmt::format(" in {} (operation {})", read_shared(entry.operation), count);
}

}  // namespace

Life::Life(PeerRecord& record) : record_(record) {
  make_robust(record_.life);
  ::pthread_mutex_lock(&record_.life);
  record_.state.store(PeerRecord::State::joined, std::memory_order_release);
}

Life::~Life() {
  record_.state.store(PeerRecord::State::left, std::memory_order_release);
  ::pthread_mutex_unlock(&record_.life);
}

RobustPeers::RobustPeers(ControlPage& page, PeerRecord* records, int rank, int size,
                         std::chrono::seconds deadline, bool bind)
    : page_(page), records_(records), rank_(rank), size_(size), allowed_(allowed_cpus()) {
  auto& mine = records_[rank_];
  if (mine.state.load(std::memory_order_acquire) != PeerRecord::State::absent) {
    throw Error(Fault::communication,
                fmt::format("two processes call themselves {}: each rank starts once, with a page "
                            "made for this start",
                            name(rank_)));
  }
  mine.cpus = allowed_;
  if (!bind) {
    CPU_ZERO(&mine.cpus);  // nothing to divide, for all of them
  }
  page_.slot(rank_).pid.store(::getpid());
  life_.emplace(mine);
  wait_for_all(deadline);
  std::vector<cpu_set_t> allowed;
  for (int other = 0; other < size; ++other) {
    allowed.push_back(records[other].cpus);
  }
  if (const auto shares = cpu_shares(allowed)) {
    share_ = shares->at(static_cast<std::size_t>(rank));
  }
}

void RobustPeers::wait_for_all(std::chrono::seconds deadline) {
  const auto give_up = std::chrono::steady_clock::now() + deadline;
  for (int other = 0; other < size_; ++other) {
    while (records_[other].state.load(std::memory_order_acquire) == PeerRecord::State::absent) {
      if (page_.header().aborted.load() != 0) {
        throw Error(Fault::communication, read_shared(page_.header().abort_reason));
      }
      if (std::chrono::steady_clock::now() > give_up) {
        throw Error(Fault::communication,
                    fmt::format("{} of this machine has not joined within {} s: see its log",
                                name(other), deadline.count()));
      }
      ::usleep(200);
    }
  }
}

RobustPeers::~RobustPeers() {
  follow(WaitPolicy::sleep);
}

std::string RobustPeers::name(int rank) const {
  const int global = page_.slot(rank).global_rank.load();
  return fmt::format("rank {}", global < 0 ? rank : global);
}

std::string RobustPeers::trouble(int rank, bool missing) {
  auto& header = page_.header();
  if (header.aborted.load(std::memory_order_acquire) != 0) {
    return read_shared(header.abort_reason);
  }
  if (is_dead(rank)) {
    return epitaph(rank, "died");
  }
  const bool left = records_[rank].state.load(std::memory_order_acquire) == PeerRecord::State::left;
  return left && missing ? epitaph(rank, "has left") : std::string();
}

bool RobustPeers::is_dead(int rank) {
  auto& record = records_[rank];
  const auto state = record.state.load(std::memory_order_acquire);
  if (state != PeerRecord::State::joined) {
    return state == PeerRecord::State::dead;
  }
  const int error = ::pthread_mutex_trylock(&record.life);
  if (error == EBUSY) {
    return false;
  }
  if (error == 0) {  // it left a moment ago
    ::pthread_mutex_unlock(&record.life);
    return false;
  }
  record.state.store(PeerRecord::State::dead, std::memory_order_release);
  if (error == EOWNERDEAD) {
    ::pthread_mutex_unlock(&record.life);  // never made consistent: from now on nobody can lock it
  }
  return true;
}

/// "rank 1 (process 4711) died in all_reduce float32 (operation 481): its own error", as far as it
/// is known.
std::string RobustPeers::epitaph(int rank, std::string_view what) const {
  auto& slot = page_.slot(rank);
  const bool failed = slot.failed.load(std::memory_order_acquire) != 0;
  return fmt::format("{} (process {}) {}{}{}{}", name(rank), slot.pid.load(), what,
                     last_operation(slot), failed ? ": " : "",
                     failed ? read_shared(slot.error) : "");
}

void RobustPeers::follow(WaitPolicy policy) {
  if (!share_) {
    return;
  }
  const bool pin = policy == WaitPolicy::spin;
  move_threads(pin ? allowed_ : *share_, pin ? *share_ : allowed_);
}

void RobustPeers::aborted(std::string_view sentence) noexcept {
  auto& header = page_.header();
  if (header.aborted.load() == 0) {
    write_shared(header.abort_reason, sentence);
    header.aborted.store(static_cast<std::uint32_t>(1 + rank_), std::memory_order_release);
  }
}

}  // namespace muster
