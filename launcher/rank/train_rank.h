/// One rank of a training job, from its settings to an exit code of interfaces.md.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <exception>
#include <string>
#include <vector>

#include "collectives/shm/open_node.h"
#include "launcher/rank/rank_cores.h"
#include "runtime/config/job.h"
#include "runtime/config/load.h"

namespace muster {

/// `job` as `keys` and `resolved` filled it. Collective. Throws what went wrong; of what it met
/// while it ran the other ranks know by then. `is_supervised`: `muster` started this rank and owns
/// the run's directory.
int train_rank(const JobSettings& job, const Keys& keys, const Resolved& resolved, Ranks& ranks,
               const RankCores& cores, bool is_supervised);

/// That this rank has failed, and why: in its slot and its log, through its groups, and in the
/// run's file `failure` where it has the cause. The first time alone.
void tell_failure(Ranks& ranks, const JobSettings& job, bool is_supervised,
                  const std::exception& error);

}  // namespace muster
