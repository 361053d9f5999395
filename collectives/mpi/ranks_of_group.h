/// ranks_of_group: some ranks of an MPI world as a group that trains together, for as long as it
/// lives: the trials of a sweep meet so, one after the other.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mpi.h>

#include <memory>

#include "collectives/mpi/mpi_world.h"
#include "collectives/shm/open_node.h"

namespace muster {

/// Collective over `group`, of which a copy is used. `world` must outlive it; its finish() leaves
/// MPI as it is.
std::unique_ptr<Ranks> ranks_of_group(MpiWorld& world, MPI_Comm group);

}  // namespace muster
