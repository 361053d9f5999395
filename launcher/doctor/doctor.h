/// Doctor: what this machine offers to training and tuning, and for each thing missing what does
/// not work without it and how to get it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "launcher/doctor/world.h"

namespace muster {

struct Finding {
  enum class State { good, poor, missing };
  std::string part;  ///< "mpi": its name in --json
  std::string name;  ///< "MPI"
  State state = State::good;
  std::string value;   ///< "Open MPI 4.1.4"
  std::string remedy;  ///< what does not work so, and what to do; empty when good
};

std::vector<Finding> examine(World& world, const std::string& directory);
std::vector<Finding> examine_software(World& world);
std::vector<Finding> examine_machine(World& world, const std::string& directory);

/// A line a part, remedies below the table.
std::string findings_text(const std::vector<Finding>& findings);
/// {"parts":{"mpi":{"state":"good","value":"..","remedy":".."}},"ok":true}: ok when nothing that
/// training on this machine's CPUs needs is missing.
std::string findings_json(const std::vector<Finding>& findings);

}  // namespace muster
