/// find_job: which run or sweep a name on the command line means. A name, or a path to the
/// directory; what it is, its files tell.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "launcher/engine/owner_lock.h"

namespace muster {

enum class JobKind { run, sweep };
struct FoundJob {
  JobKind kind = JobKind::run;
  Path root;
  std::string name;
};
struct JobRoots {
  Path runs = "runs";
  Path sweeps = "sweeps";
};

/// An empty root is not looked in. Throws bad_input that names what there is, and the nearest to
/// it.
FoundJob find_job(const std::string& name, const JobRoots& roots);
/// All of them, sorted by name, runs first.
std::vector<FoundJob> all_jobs(const JobRoots& roots);

}  // namespace muster
