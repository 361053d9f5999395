// SPDX-License-Identifier: Apache-2.0
#include "launcher/rank/run_observer.h"

namespace muster {

Verdict RunObserver::on_report(const TrainReport& report) {
  if (!options_.writes) {
    return Verdict::go_on;
  }
  if (writer_ != nullptr) {
    MetricRecord record{.step = report.step, .epoch = report.epoch, .values = report.values};
    record.values.emplace_back("samples_per_second", report.samples_per_second);
    writer_->write(record);
  }
  for (const auto& value : report.values) {
    if (value.first.starts_with("val_")) {
      std::erase_if(last_metrics_, [&](const auto& known) { return known.first == value.first; });
      last_metrics_.push_back(value);
    }
  }
  if (report.is_best && options_.keep_best) {
    options_.keep_best();
    kept_best_ = true;
  }
  if (report.ends_epoch) {
    show(report, log::Level::info);
    if (options_.on_epoch) {
      options_.on_epoch(report);
    }
  }
  return Verdict::go_on;
}

void RunObserver::on_remark(const std::string& text) {
  log::warning(text);
}

void RunObserver::on_progress(const TrainReport& report) {
  show(report, log::Level::live);
}

void RunObserver::show(const TrainReport& report, log::Level level) {
  if (!options_.shows_progress) {
    return;
  }
  pace_.add(report.step, std::chrono::steady_clock::now());
  Progress progress{.step = report.step,
                    .total_steps = report.steps,
                    .epoch = report.epoch,
                    .epochs = report.epochs};
  progress.loss = report.values.empty() ? 0 : report.values.front().second;
  progress.samples_per_second = report.samples_per_second;
  progress.data_share = report.data_share;
  progress.compute_share = report.compute_share;
  progress.exchange_share = report.exchange_share;
  progress.metrics = last_metrics_;
  log::write(level, progress_line(progress, pace_.left(report.steps)));
}

}  // namespace muster
