/// ProgramJob: what a program that knows nothing of Muster is told about its job: a directory tree
/// and environment variables, as the managed service lays them (its `/opt/ml`, its SM_*), under the
/// run's own directory and without root.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/program/arguments.h"
#include "runtime/base/file_system.h"

namespace muster {

struct Channel {
  std::string name;  ///< "train"
  Path path;         ///< where the data is
  std::string content_type;
};

struct ProgramJob {
  std::string name;                  ///< of the job, or SWEEP-0017 for a trial
  Path directory;                    ///< of the run; absolute
  std::vector<std::string> command;  ///< without the hyper-parameters
  Parameters hyperparameters;        ///< words as written; JSON where they parse as such
  ArgumentStyle style = ArgumentStyle::plain;
  std::vector<Channel> channels;
  std::vector<std::string> hosts{"localhost"};
  std::string current_host = "localhost";
  std::string network_interface = "lo";
  std::string instance_type = "local";
  std::string group = "homogeneousCluster";
  int cpus = 1;
  int gpus = 0;
};

/// The tree's root, what the service calls /opt/ml: DIRECTORY/ml. `model` and `checkpoints` in it
/// are those of the run.
Path tree_root(const ProgramJob& job);
/// Makes the tree: input/config/*.json, input/data/CHANNEL (links), model, checkpoints, output,
/// code. Fine if it is there: results of an earlier attempt stay. Throws bad_input naming the
/// channel when its path is missing.
void make_tree(const ProgramJob& job);
/// SM_* for the job on `current_host`, TRAINING_JOB_NAME, SAGEMAKER_BASE_DIR,
/// MUSTER_CHECKPOINT_DIR, MUSTER_METRICS.
std::map<std::string, std::string> program_environment(const ProgramJob& job);
/// RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, NODE_RANK, MASTER_ADDR, MASTER_PORT: what
/// programs written for torchrun read.
std::map<std::string, std::string> rendezvous_environment(int rank, int size, int local_rank,
                                                          int local_size, std::string_view master,
                                                          int port);
/// The whole command line: the command, then the hyper-parameters in the job's style.
std::vector<std::string> command_line(const ProgramJob& job);
/// What a program wrote to output/failure, or "" (the service shows its first 1,024 characters).
std::string failure_text(const ProgramJob& job);

}  // namespace muster
