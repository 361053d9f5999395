/// Keeper: what runs between a program and us (process.h). Calls nothing but system calls, since it
/// lives in the fork of a process that may have threads.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sched.h>

#include <array>
#include <cstdint>
#include <vector>

namespace muster::keeper {

/// Keeper to owner.
struct Message {
  enum class Kind : std::int32_t { started, exec_failed, ended, lost } kind{};
  std::int32_t value = 0;  ///< pid, errno, wait status
  std::int64_t peak_bytes = 0;
};
/// Owner to keeper. Signal 0: kill everything.
struct Order {
  std::int32_t signal = 0;
};

/// All that the keeper needs, made before the fork.
struct Prepared {
  const char* const* command = nullptr;
  const char* const* environment = nullptr;
  const char* directory = nullptr;  ///< null: stay
  const cpu_set_t* cpus = nullptr;  ///< null: all
  std::array<int, 3> standard{-1, -1, -1};
  int link = -1;
  bool own_session = true;
  int ask_first_ms = 0;  ///< TERM, and so long to leave, before everything is killed
};

/// The life of a keeper.
[[noreturn]] void run(const Prepared& prepared) noexcept;
/// SIGKILL to every process below `root` (not to itself), once. How many were found.
int kill_below(int root) noexcept;
/// The living children of `parent`.
std::vector<int> children_of(int parent);

}  // namespace muster::keeper
