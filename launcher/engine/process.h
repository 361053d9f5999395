/// Process: a program of ours, and everything that it starts, as one thing that ends together.
/// Between us and the program sits a keeper, a small process that adopts whatever the program
/// leaves behind. The program ends, we end (even by kill -9), or we say so: in each case the keeper
/// kills all that is left below it. Start and signal from any thread.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/file_system.h"
#include "runtime/base/handle.h"
#include "runtime/comm/launch_context.h"

namespace muster {

struct ProcessSpec {
  std::vector<std::string> command{};  ///< found in PATH when it has no slash
  Environment environment{};           ///< all of it
  Path directory{};                    ///< empty: ours
  std::vector<int> cpus{};             ///< cores that it may use; empty: ours
  int input = -1;                      ///< descriptors of ours for its 0, 1 and 2; -1: /dev/null
  int output = -1;
  int error = -1;
  bool own_session =
      true;  ///< false: stays in our process group, so that a launcher's signals reach it
  /// A launcher that is killed leaves its ranks on other hosts alive: it gets TERM and so long
  /// before it and all below it are killed, also when we die.
  int ask_first_ms = 0;
};

/// How a program ended.
struct Ended {
  int status = 0;               ///< as waitpid gives it
  int exec_error = 0;           ///< errno when it could not even be started
  std::int64_t peak_bytes = 0;  ///< resident, at most
  bool finished() const noexcept { return exec_error == 0 && status == 0; }
  std::optional<int> code() const noexcept;  ///< nothing when a signal ended it
  std::optional<int> signal() const noexcept;
  /// "exited with 1", "was killed by SIGSEGV", "could not be started: No such file or directory"
  std::string text() const;
};

class Process {
 public:
  static Process start(const ProcessSpec& spec);
  Process(Process&& other) noexcept;
  Process& operator=(Process&& other) noexcept;
  /// Kills what still runs, and waits for it.
  ~Process();

  pid_t pid() const noexcept { return pid_; }
  /// Becomes readable when the program has ended: for poll(2).
  int descriptor() const noexcept { return link_.get(); }
  /// How it ended, once it has; the same answer ever after.
  std::optional<Ended> poll();
  std::optional<Ended> wait_for(int milliseconds);
  void signal(int signal) noexcept;  ///< to the program's process group
  void kill_tree() noexcept;         ///< to everything below the keeper, by SIGKILL

 private:
  Process() = default;
  void close() noexcept;
  void reap() noexcept;
  Descriptor link_;
  pid_t keeper_ = -1;
  pid_t pid_ = -1;
  int exec_error_ = 0;
  std::optional<Ended> ended_;
};

/// Kills children of this process that it did not start through Process: what a keeper would have
/// adopted had it not been killed. Returns how many there were.
int kill_adopted_orphans() noexcept;

}  // namespace muster
