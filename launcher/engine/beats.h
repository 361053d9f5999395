/// Beats: that a rank's attendant on another host lives, told by a small file beside the rank's log
/// that grows every few seconds. An attendant that is killed with its host, or before it could note
/// how its rank ended, is known by its silence; launchers may not tell.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/clock.h"
#include "runtime/base/file_system.h"

namespace muster {

constexpr std::chrono::seconds beat_every{5};

/// The attendant's side.
class BeatWriter {
 public:
  BeatWriter(const Path& log_directory, int rank, const std::string& host);
  /// Call it often; it writes when the time has come. The first time says that signals are heeded.
  void beat(Monotonic now);

 private:
  std::unique_ptr<File> file_;
  Monotonic next_{};
};

/// The side of whoever started the ranks. Time counts in ticks of at most `beat_every`: neither a
/// suspended supervisor nor a file system that stood still makes anybody silent.
class BeatWatch {
 public:
  static constexpr std::chrono::seconds lost_after{30};
  static constexpr std::chrono::seconds absent_after{120};  ///< without a first beat
  struct Lost {
    std::string host;  ///< empty: it never said where it is
    std::chrono::nanoseconds silent{};
  };
  /// Forgets what earlier starts have left.
  BeatWatch(Path log_directory, int ranks);
  bool is_due(Monotonic now) const { return now >= next_; }
  /// Looks at those ranks that `watched` names. Those whom nobody hears any more.
  std::vector<std::pair<int, Lost>> look(const std::vector<int>& watched, Monotonic now);
  /// Whether an attendant of this start has begun.
  bool anybody_came() const;
  /// Whether every attendant has beaten: a signal kills none of them any more.
  bool all_beat() const;

 private:
  struct Heard {
    std::uint64_t bytes = 0;
    std::string host;
    std::chrono::nanoseconds silent{};
  };
  Path logs_;
  std::vector<Heard> heard_;
  Monotonic next_{};
  std::optional<Monotonic> last_;
};

}  // namespace muster
