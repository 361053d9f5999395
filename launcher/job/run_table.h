/// RunTable: runs as `muster ls` and `muster show` tell them, to people and to programs.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "launcher/job/find_job.h"
#include "launcher/supervise/run_status.h"

namespace muster {

struct RunRow {
  FoundJob job;
  JobStatus status;
  std::string state;  ///< of the status; "Lost" when it should be running, or waiting in
                      ///< Slurm's queue, and is not
};
RunRow row_of(const FoundJob& job, WallTime now);

std::string rows_text(const std::vector<RunRow>& rows);
std::string rows_json(const std::vector<RunRow>& rows);

/// One checkpoint in `muster show`.
struct ShownCheckpoint {
  std::uint64_t step = 0;
  std::uint64_t bytes = 0;
  bool valid = false;
  std::string path;
  std::string created;
  std::string age;  ///< "3 min 20 s"; empty when nobody knows
  std::string problem;
};
/// `name state step epoch metrics restarts lost_seconds checkpoints[{step bytes valid path}]`
/// (interfaces.md), and more.
std::string run_json(const RunRow& row, const std::vector<ShownCheckpoint>& checkpoints);
std::string run_text(const RunRow& row, const std::vector<ShownCheckpoint>& checkpoints);

}  // namespace muster
