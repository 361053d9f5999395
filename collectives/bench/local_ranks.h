/// Runs a body as the ranks of this machine, each a thread or a forked process, and waits for all.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "collectives/node/local_group.h"

namespace muster {

using RankBody = std::function<void(LocalGroup& group)>;

/// Throws the first error. What the body writes to memory of the caller is seen.
void run_as_threads(int ranks, const RankBody& body);
/// Throws the error of the rank that failed first. A process has memory of its own; call before the
/// program starts threads.
void run_as_processes(int ranks, const RankBody& body);

}  // namespace muster
