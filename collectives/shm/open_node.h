/// Ranks: what main() gets from a LaunchContext: the node, the group of all ranks, and what they
/// share. open_node serves every start that needs no MPI; collectives/mpi/open_ranks.h serves all.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>

#include "collectives/node/local_group.h"
#include "runtime/comm/communicator.h"
#include "runtime/comm/control_page.h"
#include "runtime/comm/launch_context.h"
#include "runtime/comm/node_group.h"

namespace muster {

/// Members end in the right order. Belongs to the thread that lives as long as the rank.
class Ranks {
 public:
  virtual ~Ranks() = default;
  virtual NodeGroup& node() = 0;      ///< the ranks of this machine
  virtual Communicator& world() = 0;  ///< all ranks
  virtual Communicator*
  lane() = 0;  ///< equal local ranks of all machines; null where there is one machine
  virtual ControlPage& page() = 0;  ///< of this machine
  virtual RankSlot& slot() = 0;     ///< of this rank
  /// Collective: what a rank that is well does last. A rank that fails leaves without it.
  virtual void finish() = 0;
};

/// For a context that does not use MPI. Collective. Fills the slot's global_rank and pid. `handed`
/// is the page that `muster` made, if the caller has opened it already; else it is opened here by
/// context.control.
std::unique_ptr<Ranks> open_node(const LaunchContext& context,
                                 std::optional<ControlPage> handed = std::nullopt);

}  // namespace muster
