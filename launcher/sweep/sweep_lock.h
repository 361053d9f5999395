/// SweepLock: one process at a time owns a sweep's directory. Held by flock(2), so a kill -9 frees
/// it; the file says who has it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/base/file_system.h"
#include "runtime/base/handle.h"

namespace muster {

class SweepLock {
 public:
  /// Makes the directory where it is missing. Throws Error(bad_input) that names the owner.
  explicit SweepLock(const Path& directory);

 private:
  Descriptor file_;
};

}  // namespace muster
