/// JobPlan: from settings to what the supervisor runs: which engine, which directory, is it the
/// same command as before. `muster train`, `muster run` and `muster resume` meet here.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launcher/supervise/supervisor.h"
#include "runtime/config/job.h"
#include "runtime/config/load.h"

namespace muster {

/// `muster run`: any program as ranks. Its own few keys; the command is one of them, so that
/// config.ini tells all.
struct ProgramSettings {
  std::string command;  ///< quoted for a shell
  int threads = 0;
  std::optional<int> cpus, gpus;    ///< what the program is told it has; default: this machine's
  std::string arguments = "plain";  ///< how it is told its hyper-parameters
  std::vector<Keys::Entry> hyperparameters;  ///< hyperparameter.KEY
  std::vector<Keys::Entry> channels;         ///< data.CHANNEL: path
  std::vector<Keys::Entry> metrics;          ///< metric.NAME: regular expression over the output
  JobSettings job;  ///< name, ranks, hosts, engine and the other keys without a section
};
void describe_program(Keys& keys, ProgramSettings& program);

/// Runs a job to its end: checks that it is the same command as before, writes config.ini,
/// supervises. Returns the exit code. `rank_program`: empty for the muster-rank beside this
/// program.
int train(const Keys& keys, const JobSettings& job, const Resolved& resolved,
          const std::string& rank_program = "");
int run_program(const Keys& keys, const ProgramSettings& program, const Resolved& resolved);

/// Cards if there are hosts or GPUs, else one: how many ranks a job gets that does not say.
int settled_ranks(const JobSettings& job);

/// "configs/digits.ini" -> "digits", "python3 train.py --lr 1" -> "train".
std::string program_name(const std::vector<std::string>& command);

}  // namespace muster
