/// RankCores: the cores that the ranks of a machine divide among them, and so how many threads each
/// of them has. To be asked before ranks meet, since waiting for others narrows a rank's mask.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sched.h>

#include <span>

#include "runtime/comm/launch_context.h"
#include "runtime/comm/node_group.h"

namespace muster {

class RankCores {
 public:
  /// Takes back what mpirun bound this rank to, so that it may use what mpirun itself may, as it
  /// would under `muster`; unless ranks shall stay where their launcher put them (`bind` false).
  explicit RankCores(const LaunchContext& context);

  /// All cores of the ranks of this machine, divided by these: the same for all of them.
  /// Collective.
  int threads_each(NodeGroup& node) const;

 private:
  cpu_set_t mask_;
};

/// Of ranks with these masks, where the control group lets them use `quota` cores (0: any).
int threads_each(std::span<const cpu_set_t> masks, int quota);

}  // namespace muster
