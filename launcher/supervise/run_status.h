/// JobStatus: what status.json of a run tells: its state, every change of state with its time, how
/// much work was lost. Written whole by the supervisor alone; anybody may read it at any time.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/clock.h"
#include "runtime/base/file_system.h"

namespace muster {

/// Names as the managed service has them.
namespace state {
inline constexpr const char* pending = "Pending";  ///< submitted, not yet begun
inline constexpr const char* starting = "Starting";
inline constexpr const char* downloading = "Downloading";
inline constexpr const char* training = "Training";
inline constexpr const char* interrupted = "Interrupted";
inline constexpr const char* uploading = "Uploading";
inline constexpr const char* completed = "Completed";
inline constexpr const char* failed = "Failed";
inline constexpr const char* stopped = "Stopped";
inline constexpr const char* max_runtime = "MaxRuntimeExceeded";
}  // namespace state

struct Transition {
  std::string status;
  std::string start;  ///< ISO time
  std::string end;    ///< empty: it is the present one
  std::string message;
};

struct JobStatus {
  std::string name;
  std::vector<Transition> transitions;
  std::uint64_t step = 0;
  std::uint64_t checkpoint_step = 0;
  std::optional<double> epoch;
  std::map<std::string, double> metrics;  ///< the last values
  int ranks = 0;
  std::string engine;
  std::string host;  ///< where the supervisor runs or ran
  std::int64_t pid = 0;
  std::string slurm_job;
  int restarts = 0;         ///< starts after the first, whatever the cause
  double run_seconds = 0;   ///< spent on all attempts
  double lost_seconds = 0;  ///< of them: work done again after failures, and starting
  std::vector<std::string> excluded_hosts;
  std::optional<int> exit_code;  ///< of the last `muster`, once it has ended
  std::string failure;           ///< first line of the file `failure`

  std::string state() const { return transitions.empty() ? "" : transitions.back().status; }
  /// Completed, Failed, Stopped or MaxRuntimeExceeded.
  bool ended() const;
  /// Closes the present state and opens the next one. The same state again changes nothing.
  void enter(const std::string& status, const std::string& message, WallTime now);
  /// Of run_seconds, the share that was not lost; 1 when nothing has run.
  double useful_share() const;
};

std::string to_json(const JobStatus& status);
/// Throws Error(io) naming `where` when the text is no status.
JobStatus status_from_json(const std::string& text, const std::string& where);

/// The last line of a file of JSON lines as step, epoch and numbers; nothing when there is none
/// yet. Reads the tail only.
struct LastMetrics {
  std::optional<std::uint64_t> step;
  std::optional<double> epoch;
  std::map<std::string, double> values;
};
std::optional<LastMetrics> last_metrics(const Path& file);

}  // namespace muster
