/// RunDirectory: the files of a run (interfaces.md, "Files of a run") and who owns them.
/// The lock is held by flock(2) on this machine and by a heartbeat across machines; both go when
/// the owner dies.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "launcher/supervise/run_status.h"
#include "runtime/base/clock.h"
#include "runtime/base/file_system.h"
#include "runtime/base/handle.h"

namespace muster {

struct RunFiles {
  Path root;
  Path config() const { return root / "config.ini"; }
  Path status() const { return root / "status.json"; }
  Path metrics() const { return root / "metrics.jsonl"; }
  Path logs() const { return root / "log"; }
  Path rank_log(int rank) const { return logs() / ("rank-" + std::to_string(rank) + ".log"); }
  Path merged_log() const { return logs() / "all.log"; }
  Path checkpoints() const { return root / "checkpoints"; }
  Path model() const { return root / "model"; }
  Path failure() const { return root / "failure"; }
  Path control() const { return root / "control"; }
  Path lock() const { return root / "lock"; }
};

/// Who owns a run, as its lock tells.
struct Owner {
  std::string host;
  std::int64_t pid = 0;
  std::string slurm_job;
  std::string since;
  std::int64_t beat = 0;  ///< seconds since 1970
};
std::optional<Owner> owner_of(const Path& lock_file);

class RunLock {
 public:
  /// A heartbeat on another machine that is older than this is no longer believed.
  static constexpr std::chrono::seconds stale_after{60};
  /// Takes the lock, or throws Error(bad_input) that names the owner. `say` hears about a lock that
  /// was taken over.
  RunLock(Path file, WallTime now, const std::function<void(const std::string&)>& say);
  void beat(WallTime now);
  /// Removes the file; without it (a kill -9) the next owner sees a stale one.
  void release() noexcept;
  RunLock(RunLock&&) noexcept = default;
  RunLock& operator=(RunLock&&) noexcept = default;
  ~RunLock() { release(); }

 private:
  Path path_;
  Descriptor file_;
  Owner me_;
};

std::string this_host();
/// A name is a directory's name: letters, digits, '-', '_', '.', not beginning with '.'. Throws
/// bad_input that says so.
void check_run_name(std::string_view name);

}  // namespace muster
