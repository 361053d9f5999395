/// Attendant: sits beside one rank that mpirun or srun started on some host, and does there what
/// the supervisor does for ranks of its own machine: keeps the log, watches for a hang, notes how
/// the rank ended, passes signals on, leaves no orphans.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "runtime/base/file_system.h"

namespace muster {

struct AttendantOptions {
  Path logs;  ///< of the run; seen by all hosts
  std::vector<std::string> command;
  std::string start;  ///< it belongs to; when orders name another, it ends its rank. Empty: to none
  bool foreign = false;  ///< any program: gets TERM and torchrun's variables, sees all cards
  bool on_cpu = false;   ///< a rank of ours that uses no card
  int threads = 0;       ///< 0: this host's cores divided by its ranks
  std::chrono::milliseconds hang_after{30'000};
};

/// Runs the rank to its end. Returns 0 for the exit codes of interfaces.md that are no failure, so
/// that the launcher does not kill slower ranks for them; the true code stands in the rank's end
/// record.
int attend(const AttendantOptions& options);

}  // namespace muster
