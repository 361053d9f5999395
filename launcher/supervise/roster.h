/// Roster: the hosts that a job may use, who of them is left out, and how many ranks then still
/// have a place. Knows no processes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launcher/engine/engine.h"

namespace muster {

class Roster {
 public:
  /// No hosts: everything runs on this machine, and nobody can be left out. `min_ranks` 0: all
  /// ranks are needed.
  Roster(std::vector<Host> hosts, int ranks, int min_ranks);
  /// False when the host is none of these, or is left out already.
  bool leave_out(const std::string& host);
  /// Of the next start: all, fewer where `min_ranks` allows it, nothing when too few places are
  /// left.
  std::optional<int> ranks() const;
  bool any_left() const { return hosts_.empty() || places() > 0; }
  /// Those left out that are among the job's hosts, as they are written there.
  const std::vector<std::string>& left_out() const { return left_out_; }

 private:
  int places() const;
  std::vector<Host> hosts_;
  int ranks_;
  int min_ranks_;
  int crowding_ = 1;  ///< ranks a slot that the job was given from the start
  std::vector<std::string> left_out_;
};

}  // namespace muster
