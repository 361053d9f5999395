/// What Slurm tells a process of its job, read from the environment alone: scontrol may be missing
/// in containers.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/engine/engine.h"

namespace muster {

struct SlurmJob {
  std::string id;  ///< "17", or "17_3" for a task of an array
  std::vector<std::string> nodes;
  std::vector<int> tasks_per_node;  ///< empty when not told
  std::vector<int> cpus_per_node;   ///< likewise
  int tasks = 1;
  int restarts = 0;
  bool is_step = false;  ///< this process was started by srun itself
};
/// Nothing outside of a job.
std::optional<SlurmJob> slurm_job(const Environment& environment);
/// "n[1-3,07],login" -> n1 n2 n3 n07 login. Throws bad_input where it cannot be read.
std::vector<std::string> expand_nodes(std::string_view list);
/// "2(x3),1" -> 2 2 2 1.
std::vector<int> expand_counts(std::string_view list);

}  // namespace muster
