/// RunObserver: what a run tells: metrics.jsonl and event files, the progress line, the best model
/// in model/. Rank 0 writes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "runtime/base/log.h"
#include "runtime/track/metrics_writer.h"
#include "runtime/track/progress.h"
#include "runtime/train/trainer.h"

namespace muster {

class RunObserver final : public TrainObserver {
 public:
  struct Options {
    bool writes = false;  ///< rank 0
    bool shows_progress = true;
    std::function<void()> keep_best;  ///< on rank 0, when the monitored value has never been better
    std::function<void(const TrainReport&)> on_epoch;  ///< on rank 0
  };
  explicit RunObserver(Options options) : options_(std::move(options)) {}
  /// From here on records go to `writer`.
  void write_to(MetricsWriter* writer) { writer_ = writer; }

  Verdict on_report(const TrainReport& report) override;
  void on_remark(const std::string& text) override;
  void on_progress(const TrainReport& report) override;
  bool kept_best() const { return kept_best_; }

 private:
  void show(const TrainReport& report, log::Level level);
  Options options_;
  MetricsWriter* writer_ = nullptr;
  Pace pace_;
  std::vector<std::pair<std::string, double>> last_metrics_;
  bool kept_best_ = false;
};

}  // namespace muster
