/// RobustPeers: knows which ranks of a machine live. Each holds a robust mutex for life, so the
/// kernel itself says who has died. Made and destroyed by the thread that lives as long as the
/// rank: a robust mutex belongs to a thread.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "collectives/node/local_group.h"
#include "runtime/comm/control_page.h"

namespace muster {

/// One rank's part of the page. All zero: not joined.
struct alignas(64) PeerRecord {
  enum class State : std::uint32_t { absent, joined, left, dead };
  pthread_mutex_t life;
  std::atomic<State> state;
  cpu_set_t cpus;  ///< those the rank may use
};

/// Being among the living: holds the record's mutex from join to leave.
class Life {
 public:
  explicit Life(PeerRecord& record);
  Life(const Life&) = delete;
  Life& operator=(const Life&) = delete;
  ~Life();

 private:
  PeerRecord& record_;
};

class RobustPeers final : public Peers {
 public:
  /// Returns when all `size` ranks have joined. Throws Error(communication) naming who has not come
  /// by the deadline. Without `bind` no rank has cores of its own.
  RobustPeers(ControlPage& page, PeerRecord* records, int rank, int size,
              std::chrono::seconds deadline, bool bind);
  RobustPeers(const RobustPeers&) = delete;
  RobustPeers& operator=(const RobustPeers&) = delete;
  ~RobustPeers() override;

  bool has_core_each() const noexcept { return share_.has_value(); }
  std::string name(int rank) const override;
  std::string trouble(int rank, bool missing) override;
  void follow(WaitPolicy policy) override;
  void aborted(std::string_view sentence) noexcept override;

 private:
  void wait_for_all(std::chrono::seconds deadline);
  bool is_dead(int rank);
  std::string epitaph(int rank, std::string_view what) const;

  ControlPage& page_;
  PeerRecord* records_;
  int rank_;
  int size_;
  cpu_set_t allowed_;
  std::optional<cpu_set_t> share_;
  std::optional<Life> life_;
};

}  // namespace muster
