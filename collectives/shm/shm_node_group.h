/// The ranks of one machine as processes, which meet over a ControlPage. Names a dead rank within a
/// second. One group a page and rank; page and group belong to the thread that lives as long as the
/// rank.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>

#include "collectives/node/local_group.h"
#include "runtime/comm/control_page.h"

namespace muster {

struct ShmOptions {
  std::chrono::seconds join_deadline{120};  ///< how long to wait for the other ranks to start
  bool allow_memfd = true;                  ///< false: windows in /dev/shm only
  bool bind = true;                         ///< each rank on cores of its own, where there are some
};

/// Collective over the local ranks; publishes the process id in the page's slot. `page` must
/// outlive the group.
std::unique_ptr<LocalGroup> shm_node_group(ControlPage& page, int local_rank, int local_size,
                                           ShmOptions options = {});

}  // namespace muster
