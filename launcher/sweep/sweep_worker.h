/// SweepWorker: the far end of a WorkerLink: it takes orders, runs trials and says events. What
/// carries both is not its business. One thread's; events may be said from others.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <poll.h>

#include <functional>
#include <vector>

#include "launcher/sweep/worker_messages.h"

namespace muster {

class SweepWorker {
 public:
  using Say = std::function<void(const WorkerEvent&)>;
  virtual ~SweepWorker() = default;
  /// Starts, answers. `suspend` has all that runs saved, and said to be preempted.
  virtual void obey(const WorkerOrder& order) = 0;
  /// Moves on what has no threads of its own. Never blocks.
  virtual void advance() {}
  /// What to wait for between two calls of advance().
  virtual void add_descriptors(std::vector<pollfd>& /*waits*/) const {}
  /// Nothing runs: after a `suspend`, all is saved.
  virtual bool is_idle() const { return true; }
};

/// Saves all that runs; returns when it is done.
void save_all(SweepWorker& worker);

}  // namespace muster
