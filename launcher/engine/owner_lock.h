/// OwnerLock: one process at a time owns the directory of a run or of a sweep. Held by flock(2) on
/// this machine, so that a kill -9 frees it, and by a heartbeat across machines, for file systems
/// whose flock does not reach that far. A thread of its own beats every few seconds.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <thread>

#include "runtime/base/clock.h"
#include "runtime/base/file_system.h"
#include "runtime/base/handle.h"

namespace muster {

/// Who owns a directory, as its lock tells.
struct Owner {
  std::string host;
  std::int64_t pid = 0;
  std::string slurm_job;
  std::string since;
  std::int64_t beat = 0;  ///< seconds since 1970
};
/// What the lock says, its owner living or not; none where there is no lock or it is torn.
std::optional<Owner> owner_of(const Path& directory);
/// Is somebody there now? Changes nothing.
bool is_owned(const Path& directory, WallTime now);

class OwnerLock {
 public:
  /// A heartbeat on another machine that is older than this is no longer believed.
  static constexpr std::chrono::seconds stale_after{60};
  /// Makes the directory and takes its lock, or throws Error(bad_input) that names the
  /// owner. `say` hears of an owner that is gone. What that owner started may still be ending and
  /// holds the lock until then: waited for, a minute at most. `clock` must outlive the lock.
  OwnerLock(const Path& directory, const Clock& clock,
            const std::function<void(const std::string&)>& say,
            std::chrono::milliseconds between_beats = std::chrono::seconds(5));
  ~OwnerLock() { release(); }
  OwnerLock(const OwnerLock&) = delete;
  OwnerLock& operator=(const OwnerLock&) = delete;
  /// Removes the file; without it (a kill -9) the next owner sees a stale one.
  void release() noexcept;

 private:
  bool try_take();
  void take(const Path& directory, const std::function<void(const std::string&)>& say);
  void beat();
  void keep_beating(const std::stop_token& stop, std::chrono::milliseconds pause);

  Path path_;
  const Clock& clock_;
  Descriptor file_;
  Owner me_;
  std::jthread beats_;
};

std::string this_host();

}  // namespace muster
