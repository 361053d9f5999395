// SPDX-License-Identifier: Apache-2.0
#include "runtime/track/progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "runtime/track/json_text.h"

namespace muster {
namespace {

constexpr double pace_memory = 50;  // steps

std::string rate_text(double per_second) {
  if (per_second >= 1e6) {
    return fmt::format("{:.1f} M samples/s", per_second / 1e6);
  }
  return per_second >= 1e4 ? fmt::format("{:.1f} k samples/s", per_second / 1e3)
                           : fmt::format("{:.0f} samples/s", per_second);
}

int percent(double share) {
  return static_cast<int>(std::lround(100 * share));
}

}  // namespace

std::string progress_line(const Progress& progress, std::optional<Nanoseconds> left) {
  std::string line = fmt::format(
      "epoch {}/{}  step {}/{}  loss {:.4g}  {}",
      static_cast<std::uint64_t>(std::max(1.0, std::ceil(progress.epoch))), progress.epochs,
      progress.step, progress.total_steps, progress.loss, rate_text(progress.samples_per_second));
  if (left && progress.step < progress.total_steps) {
    line += "  left " + human_duration(*left);
  }
  line += fmt::format("  data {} % compute {} % exchange {} %", percent(progress.data_share),
                      percent(progress.compute_share), percent(progress.exchange_share));
  for (const auto& [name, value] : progress.metrics) {
    line += fmt::format("  {} {:.4g}", name, value);
  }
  return line;
}

void Pace::add(std::uint64_t step, Monotonic now) {
  if (last_ && step > last_->first) {
    const double steps = static_cast<double>(step - last_->first);
    const double each = std::chrono::duration<double>(now - last_->second).count() / steps;
    const double keep = std::exp(-steps / pace_memory);
    seconds_per_step_ = seconds_per_step_ ? keep * *seconds_per_step_ + (1 - keep) * each : each;
  }
  last_ = {step, now};
}

std::optional<Nanoseconds> Pace::left(std::uint64_t total_steps) const {
  if (!seconds_per_step_ || total_steps < last_->first) {
    return std::nullopt;
  }
  const double seconds = *seconds_per_step_ * static_cast<double>(total_steps - last_->first);
  return std::chrono::duration_cast<Nanoseconds>(std::chrono::duration<double>(seconds));
}

std::string status_text(const TrainStatus& status, WallTime now) {
  return fmt::format(
      "{{\"name\":{},\"state\":{},\"step\":{},\"epoch\":{},\"metrics\":{},\"restarts\":{},\"lost_"
      "seconds\":{},"
      "\"updated\":{}}}\n",
      json_string(status.name), json_string(status.state), status.step, json_number(status.epoch),
      json_object(status.metrics), status.restarts, json_number(status.lost_seconds),
      json_string(iso_time(now)));
}

void write_status(const Path& run_directory, const TrainStatus& status, WallTime now,
                  FileSystem& files) {
  write_file_atomically(run_directory / "status.json", status_text(status, now), files);
}

}  // namespace muster
