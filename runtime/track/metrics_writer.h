/// MetricsWriter: a run's metrics.jsonl and TensorBoard event files. One writer a run (rank 0).
/// A record is whole or absent: it is one append, and a torn last line is cut when the file is
/// opened again.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/base/clock.h"
#include "runtime/base/file_system.h"

namespace muster {

/// Names are free; "train_loss", "val_accuracy" and "lr" are usual. NaN and infinities are written
/// as null, and named by the trainer.
struct MetricRecord {
  std::uint64_t step = 0;
  double epoch = 0;  ///< fractions of an epoch count
  std::vector<std::pair<std::string, double>> values;
};

class MetricsWriter {
 public:
  struct Options {
    bool tensorboard = true;
  };
  /// Goes on after what is there, with everything after `resume_step` cut: those steps will be done
  /// again.
  MetricsWriter(const Path& run_directory, std::uint64_t resume_step, Options options,
                FileSystem& files = posix_file_system(), const Clock& clock = system_clock());
  ~MetricsWriter();
  MetricsWriter(const MetricsWriter&) = delete;
  MetricsWriter& operator=(const MetricsWriter&) = delete;

  /// Throws Error(io) naming the file ("writing runs/a/metrics.jsonl: No space left on device
  /// ...").
  void write(const MetricRecord& record);
  /// Hyperparameters as TensorBoard text, once at the start of a run.
  void write_text(const std::string& tag, const std::string& text);
  /// What a trial was given, for TensorBoard's HParams page: once at its start. `group`: its name.
  void write_hyperparameters(const std::string& group,
                             const std::vector<std::pair<std::string, std::string>>& words);
  /// On the medium: before a checkpoint that counts on the records is committed.
  void sync();

  static const Clock& system_clock();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// "{"step":3,"epoch":0.5,"time":1732158543.120,"train_loss":0.5}": the line of metrics.jsonl,
/// without the newline.
std::string metrics_line(const MetricRecord& record, WallTime time);

}  // namespace muster
