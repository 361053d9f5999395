/// HangWatch: finds a rank that no longer moves, by looking at the page a few times a second. A
/// rank moves when its step, its phase or its flight record changes. Time is counted in ticks of at
/// most a second, so a supervisor that was suspended sees no hang.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/clock.h"
#include "runtime/comm/control_page.h"

namespace muster {

struct Hang {
  int local_rank = 0;  ///< who holds the others up
  std::uint64_t step = 0;
  std::string text;  ///< "rank 1 (pid 71) hangs: at step 17, computing, for 31 s; it never entered
                     ///< all_reduce ..."
  bool waits = false;  ///< it is inside an operation: a rank of another host may be the cause
};

class HangWatch {
 public:
  /// `least`: no phase is called a hang sooner; a phase also gets 20 medians of how long it took
  /// before. `precedence`: one that waits is named so much later, for who sees other hosts' ranks.
  explicit HangWatch(int ranks, std::chrono::milliseconds least = std::chrono::seconds(30),
                     std::chrono::milliseconds precedence = {});
  /// Looks once. `alive[k]` false: rank k has ended and is not watched.
  std::optional<Hang> tick(ControlPage& page, const std::vector<bool>& alive, Monotonic now);
  std::chrono::nanoseconds limit_of(Phase phase) const;

 private:
  static constexpr std::size_t phases = 9;
  static constexpr std::size_t remembered = 31;
  struct Seen {
    std::uint64_t step = 0;
    std::uint64_t flights = 0;
    Phase phase = Phase::starting;
    std::chrono::nanoseconds still{0};  ///< since it last moved
    std::chrono::nanoseconds in_phase{0};
  };
  void look(RankSlot& slot, Seen& seen, std::chrono::nanoseconds passed);
  void remember(Phase phase, std::chrono::nanoseconds took);

  std::chrono::nanoseconds least_;
  std::chrono::nanoseconds precedence_;
  std::optional<Monotonic> last_;
  std::vector<Seen> ranks_;
  std::array<std::vector<std::chrono::nanoseconds>, phases> history_;
  std::array<std::size_t, phases> next_{};
};

/// The operation that a rank has entered and not left, or nothing.
std::optional<std::string> open_operation(const RankSlot& slot);
/// The last operation that a rank entered, with "left" or "not left".
std::optional<std::string> last_operation(const RankSlot& slot);

}  // namespace muster
