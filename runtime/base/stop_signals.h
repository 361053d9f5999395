/// StopSignals: TERM, INT, HUP, USR1, USR2 and CONT, blocked in every thread and taken by one
/// thread of ours. Make it first thing in main(), before any other thread starts: threads inherit
/// the mask. Nothing runs in a signal handler. Ends with the program: from then on they are
/// ignored.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <thread>

namespace muster {

class StopSignals {
 public:
  /// `on_signal` runs on the signal thread, once for each signal taken.
  explicit StopSignals(std::function<void(int signal)> on_signal);
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  /// Between fork and exec in a child: undoes the mask, which exec would keep.
  static void restore_in_child() noexcept;

 private:
  std::jthread thread_;
};

std::string signal_name(int signal);  ///< "SIGTERM"

}  // namespace muster
