/// MpsServer: NVIDIA's multi-process service for the trials of one worker's cards: a daemon in
/// private folders, so that nobody else's processes meet it, started here and told to quit at the
/// end, or by the next sweep where this one was killed. It changes neither the compute mode nor
/// MIG. Where it does not start, trials take turns on the card, and why() says so.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "launcher/engine/owner_lock.h"
#include "launcher/engine/resources.h"
#include "runtime/base/clock.h"
#include "runtime/base/file_system.h"
#include "runtime/comm/launch_context.h"

namespace muster {

struct MpsOptions {
  Path folder;  ///< made here, for pipes and logs; short, as the path of a socket is
  std::string program = "nvidia-cuda-mps-control";  ///< looked for in PATH
};

class MpsServer {
 public:
  explicit MpsServer(MpsOptions options);
  ~MpsServer();
  MpsServer(const MpsServer&) = delete;
  MpsServer& operator=(const MpsServer&) = delete;

  bool is_running() const { return is_running_; }
  const std::string& why() const { return why_; }
  /// For a trial's process: where the daemon is, and how much memory of each card the trial may
  /// take (0: all). Empty when it does not run.
  std::vector<std::pair<std::string, std::string>> environment(std::uint64_t memory_bytes) const;

 private:
  MpsOptions options_;
  SystemClock clock_;
  OwnerLock owner_;  // freed by a kill
  bool is_running_ = false;
  std::string why_;
};

/// Daemons of this user whose sweep is gone, by their folders in `temporary`, are told to quit.
void quit_left_servers(const Path& temporary, const std::string& program);

/// For `trials` programs at once on a machine's cards: starts the service where they must share,
/// and adds its place to their environment. Null where nothing is shared or it does not start.
std::unique_ptr<MpsServer> share_cards(const Machine& machine, std::size_t trials,
                                       Environment& environment);

}  // namespace muster
