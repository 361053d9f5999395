/// The batch script that `muster submit` writes: short, readable, meant to be edited.
/// It requeues itself only after exit 75 and only while Slurm says RUNNING: a cancelled job stays
/// away.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "runtime/base/file_system.h"

namespace muster {

struct ScriptSpec {
  std::string name;
  Path run;                          ///< the run's directory: logs go there
  Path directory;                    ///< to run in
  std::vector<std::string> command;  ///< "muster train job.ini ..."
  int tasks = 1;
  std::vector<std::pair<std::string, std::string>>
      directives;                  ///< [slurm] keys: --key=value, beating ours
  std::vector<std::string> setup;  ///< lines before
  std::string array;               ///< "0-63%8"; each task is a run of its own, NAME-TASK
  std::string dependency;
  std::string source;  ///< "muster submit job.ini", for the comment
};

std::string batch_script(const ScriptSpec& spec);
/// "Submitted batch job 17" or "17;cluster" -> "17". Throws Error(io) with what sbatch said.
std::string job_id_of(const std::string& answer);

}  // namespace muster
