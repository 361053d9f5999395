/// open_ranks: the ranks of a start of any kind. MPI is initialised only where mpirun or srun
/// started this process.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "collectives/shm/open_node.h"

namespace muster {

struct MpiOptions {
  /// 0: as MPI_Comm_split_type finds them. Else pretends that this many ranks share a machine: to
  /// try several machines on one.
  int ranks_per_machine = 0;
};

/// Collective. One machine: shared memory alone. Several with equally many ranks each: shared
/// memory and MPI. Else: MPI alone.
std::unique_ptr<Ranks> open_ranks(const LaunchContext& context, MpiOptions options = {});

}  // namespace muster
