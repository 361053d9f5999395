/// Ranks as threads of one process: for tests, and for the thread sanitizer. Each group is used by
/// one thread.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "collectives/node/local_group.h"

namespace muster {

/// A node of `size` ranks, one group for each; any order of destruction is fine.
std::vector<std::unique_ptr<LocalGroup>> thread_node_groups(int size);

}  // namespace muster
