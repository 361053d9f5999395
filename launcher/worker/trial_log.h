/// TrialLog: log/rank-K.log in a trial's directory, for one launch of a trial that is a thread:
/// what that thread logs, and what the lane says aside. Lives in its thread.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/base/file_system.h"
#include "runtime/base/handle.h"

namespace muster {

class TrialLog {
 public:
  /// Appends to what earlier launches have left there. Without it when it cannot be opened.
  TrialLog(const Path& directory, int rank);
  ~TrialLog();
  TrialLog(const TrialLog&) = delete;
  TrialLog& operator=(const TrialLog&) = delete;

 private:
  Descriptor file_;
};

}  // namespace muster
