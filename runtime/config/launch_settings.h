/// LaunchSettings: what a training job, a program and a sweep are told alike: their name, who runs
/// them, for how long. One description of these keys serves all three.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "runtime/config/keys.h"

namespace muster {

struct LaunchSettings {
  std::string name;                   ///< default: the file's stem, or the program's name
  int ranks = 0;                      ///< 0: as many as there are slots (GPUs), else 1
  std::string hosts;                  ///< "a:2,b:2", or a host file
  std::string engine = "auto";        ///< auto, local, mpirun, slurm
  std::optional<double> max_runtime;  ///< seconds over all attempts
  std::string log_level = "info";
};

/// Where the help differs between those who share the keys.
struct LaunchWords {
  std::string heading;  ///< "The job"
  std::string name;     ///< whose name it is, and the default
  std::string ranks;    ///< what a rank is
};

/// Binds the keys to `launch`, which must outlive `keys` and not move.
void describe_launch(Keys& keys, LaunchSettings& launch, const LaunchWords& words);
/// From now on this process logs what `log_level` asks for.
void heed_log_level(const LaunchSettings& launch);

/// Why a word cannot name a run (it becomes a directory), or nothing.
std::optional<std::string> bad_name(const std::string& name);

}  // namespace muster
