/// Crash records: a rank that dies of SIGSEGV, SIGBUS, SIGFPE, SIGILL or SIGABRT leaves signal,
/// address and back-trace in its slot of the control page and on stderr, and then dies of the
/// signal as before. Nothing in the handlers allocates, locks or throws.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/comm/control_page.h"

namespace muster {

/// Call once, first thing in main(), before other threads and libraries that have handlers of their
/// own. A stack that has overflowed is told of for the calling thread only.
void install_crash_record();
/// The slot that crashes are written to from now on; null: stderr alone.
void crash_record_goes_to(RankSlot* slot) noexcept;

}  // namespace muster
