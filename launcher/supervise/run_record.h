/// RunRecord: what a supervisor writes down about its run while it lasts: the lock,
/// status.json with every change of state, the time that was spent and lost, the file
/// `failure`.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "launcher/engine/owner_lock.h"
#include "launcher/supervise/attempt.h"
#include "launcher/supervise/run_directory.h"
#include "launcher/supervise/run_status.h"

namespace muster {

class RunRecord {
 public:
  /// Makes the directory and takes its lock; throws bad_input when somebody else owns the run.
  /// Continues the status of earlier starts.
  explicit RunRecord(RunFiles files);

  JobStatus status;  ///< what is changed here is written with the next enter() or show_progress()

  void enter(const char* state, const std::string& message);
  /// Writes down the progress of `attempt`, once a second.
  void show_progress(const Attempt& attempt);
  void account(const AttemptOutcome& outcome, Monotonic begin, Monotonic end);
  void write_failure(const std::string& sentence, const std::string& text);
  void forget_failure();
  /// The last words: the code, the last state. Gives the lock back.
  void close(int code, const char* state, const std::string& message);
  /// Seconds that all starts of this run have taken before this one.
  double seconds_before() const { return seconds_before_; }

 private:
  void save();
  void take_metrics();
  RunFiles files_;
  SystemClock clock_;
  OwnerLock lock_;
  double seconds_before_ = 0;
  Monotonic started_;
  Monotonic next_status_{};
};

}  // namespace muster
