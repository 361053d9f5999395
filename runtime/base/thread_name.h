/// The names of threads, as crash records, debuggers and top -H show them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/prctl.h>

namespace muster {

/// Names the calling thread; the kernel keeps 15 letters.
inline void name_thread(const char* name) noexcept {
  ::prctl(PR_SET_NAME, name);
}

}  // namespace muster
