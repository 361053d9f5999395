/// slot_time: what the slots of a sweep did with their time: how much of it was idle, and how much
/// work was lost. Functions of the sweep's state, hence of its journal.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "hpo/sweep_state.h"

namespace muster::hpo {

/// Of the trials' time, what was spent since the last report of launches that then failed, were
/// evicted or preempted.
double lost_seconds(const SweepState& state);

/// Of the slots' time from the first start of a trial to the last, the share in which they ran
/// none. The drain after it is left out. A slot counts while it is there: workers come and go, and
/// one more trial at a time may be tried and given up.
double idle_share(const SweepState& state);

}  // namespace muster::hpo
