/// Runs a body as several ranks, as threads or as processes, and says how each ended.
/// Bodies report with demand(), which throws: assertions of GoogleTest inside a child would go
/// unheard.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "collectives/node/local_group.h"
#include "collectives/shm/shm_node_group.h"

namespace muster::test {

/// How each rank ended: empty for well, the report of its error, or "killed by signal 9".
using Endings = std::vector<std::string>;
using Body = std::function<void(LocalGroup& group)>;

Endings run_threads(int ranks, const Body& body);
Endings run_processes(int ranks, const Body& body, const ShmOptions& options = {});

inline void demand(bool holds, std::string_view otherwise) {
  if (!holds) {
    throw std::runtime_error(std::string(otherwise));
  }
}

}  // namespace muster::test
