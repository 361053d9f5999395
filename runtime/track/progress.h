/// Progress: the line that a person watches, and status.json, which programs read.
/// Pure text from numbers; the trainer feeds it and decides how often.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "runtime/base/clock.h"
#include "runtime/base/file_system.h"

namespace muster {

struct Progress {
  std::uint64_t step = 0, total_steps = 0;  ///< over the whole run
  double epoch = 0;
  std::uint64_t epochs = 0;
  double loss = 0;
  double samples_per_second = 0;
  double data_share = 0, compute_share = 0,
         exchange_share = 0;                            ///< of the time since the last line, 0 to 1
  std::vector<std::pair<std::string, double>> metrics;  ///< val_accuracy and so on, latest
};

/// "epoch 3/10  step 420/1410  loss 0.312  12.4 k samples/s  left 2 min 10 s  data 2 % compute 91 %
/// exchange 7 %  val_accuracy 0.953"
std::string progress_line(const Progress& progress, std::optional<Nanoseconds> left);

/// Time left, from the pace of late. Steps may cost differently as time goes (evaluation,
/// checkpoints): the mean forgets with 50 steps.
class Pace {
 public:
  void add(std::uint64_t step, Monotonic now);
  std::optional<Nanoseconds> left(std::uint64_t total_steps) const;

 private:
  std::optional<std::pair<std::uint64_t, Monotonic>> last_;
  std::optional<double> seconds_per_step_;
};

/// runs/NAME/status.json.
struct TrainStatus {
  std::string name;
  std::string state;  ///< starting, training, evaluating, finished, stopped, failed
  std::uint64_t step = 0;
  double epoch = 0;
  std::vector<std::pair<std::string, double>> metrics;
  std::uint64_t restarts = 0;
  double lost_seconds = 0;
};
std::string status_text(const TrainStatus& status, WallTime now);
void write_status(const Path& run_directory, const TrainStatus& status, WallTime now,
                  FileSystem& files = posix_file_system());

}  // namespace muster
