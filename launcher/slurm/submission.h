/// Submission: a batch script handed to sbatch.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "launcher/slurm/script.h"
#include "runtime/config/job.h"

namespace muster {

/// [slurm] of a file into the script: setup lines and #SBATCH lines; `srun` words are for who runs
/// srun.
void add_slurm_section(const SlurmSettings& slurm, ScriptSpec& spec);
/// Writes the script, makes the directory of its logs, and submits it. The job's number. Throws
/// bad_input where there is no sbatch or it refuses.
std::string hand_to_slurm(const ScriptSpec& spec, const Path& script);
/// The tasks of an array, "0-15:4,20%2" -> 0 4 8 12 20. Throws bad_input.
std::vector<int> array_tasks(const std::string& array);

}  // namespace muster
