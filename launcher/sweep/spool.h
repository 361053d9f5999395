/// Spool: how workers of other allocations join a running sweep and leave it, through files on a
/// file system that both see; no socket. In sweeps/NAME/spool:
///   `session`: who coordinates now, and the words of a worker; "over" when there is no more work.
///   `beat`: changes every two seconds while the coordinator lives.
///   `WORKER/hello`: how many trials it takes at once.
///   `WORKER/orders`: appended by the coordinator alone.
///   `WORKER/events`: appended by the worker alone; "alive" lines among them.
///   `WORKER/gone`: the coordinator has given it up: it starts anew under another name.
/// Whose side is silent for 30 s is taken for dead by the other.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "launcher/sweep/worker_link.h"
#include "runtime/base/clock.h"
#include "runtime/base/file_system.h"

namespace muster {

inline constexpr std::chrono::seconds spool_beat{2};
inline constexpr std::chrono::seconds spool_patience{30};

/// Whole lines that were appended to a file since the last call, by another process.
class AppendedLines {
 public:
  explicit AppendedLines(Path file) : file_(std::move(file)) {}
  void read(std::vector<std::string>& lines);

 private:
  Path file_;
  std::uint64_t offset_ = 0;
  std::string rest_;
};

/// The coordinator's side.
class SpoolWorkers final : public WorkerSource {
 public:
  /// Opens the sweep to workers. `words`: what a worker must be told, a command line.
  SpoolWorkers(Path spool, const std::vector<std::string>& words, const Clock& clock);
  ~SpoolWorkers() override;
  std::vector<std::unique_ptr<WorkerLink>> joined() override;
  std::chrono::milliseconds look_every() const override;
  void close(bool is_over) override;

 private:
  class Link;
  void beat();
  Path spool_;
  const Clock& clock_;
  std::string session_;
  std::map<std::string, std::shared_ptr<int>> known_;  // names that have joined; the token: in use
  Monotonic next_look_{};
  Monotonic next_beat_{};
  std::uint64_t beats_ = 0;
  bool is_closed_ = false;
};

/// What a worker finds: nothing while no coordinator has opened the sweep.
struct SpoolSession {
  std::string id;
  bool is_over = false;
  std::vector<std::string> words;
};
std::optional<SpoolSession> read_spool_session(const Path& spool);

/// Trials at once in one worker.
struct SpoolSlots {
  std::size_t count = 1;
  bool are_fixed = false;  ///< somebody has said how many
};

/// The worker's side, for one session.
class SpoolSeat {
 public:
  /// `name`: a word to be known by; others of that name are told apart.
  SpoolSeat(const Path& spool, const SpoolSession& session, const std::string& name,
            const SpoolSlots& slots, const Clock& clock);
  /// Events, from any thread.
  void say(std::string_view lines);
  void orders(std::vector<std::string>& lines) { orders_.read(lines); }
  /// Says that it lives, now and then. False when the coordinator is gone, has another session, or
  /// has given this worker up.
  bool holds();
  /// The last word: it went as it was asked to.
  void leave();
  const std::string& name() const { return name_; }

 private:
  Path spool_;
  std::string session_;
  const Clock& clock_;
  std::string name_;
  std::mutex saying_;
  std::unique_ptr<File> events_;
  AppendedLines orders_;
  std::string beat_;
  Monotonic beat_seen_;
  Monotonic next_beat_{};
};

}  // namespace muster
