// SPDX-License-Identifier: Apache-2.0
#include "runtime/base/clock.h"

#include <fmt/format.h>

#include <ctime>
#include <thread>

namespace muster {

void SystemClock::sleep_until(Monotonic when) {
  std::this_thread::sleep_until(when);
}

Monotonic VirtualClock::now() const {
  const std::lock_guard lock(mutex_);
  return now_;
}

WallTime VirtualClock::wall() const {
  const std::lock_guard lock(mutex_);
  return wall_start_ + std::chrono::duration_cast<WallTime::duration>(now_.time_since_epoch());
}

void VirtualClock::sleep_until(Monotonic when) {
  const std::lock_guard lock(mutex_);
  now_ = std::max(now_, when);
}

void VirtualClock::advance(Nanoseconds by) {
  const std::lock_guard lock(mutex_);
  now_ += by;
}

std::string iso_time(WallTime when) {
  const auto since = when.time_since_epoch();
  const auto seconds = std::chrono::floor<std::chrono::seconds>(since);
  const auto millis =
      std::chrono::duration_cast<std::chrono::milliseconds>(since - seconds).count();
  const std::time_t raw = seconds.count();
  std::tm parts{};
  ::gmtime_r(&raw, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", parts.tm_year + 1900,
                     parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                     millis);
}

std::string human_duration(Nanoseconds duration) {
  const double seconds = std::chrono::duration<double>(duration).count();
  if (seconds < 1e-3) {
    return fmt::format("{:.3g} us", seconds * 1e6);
  }
  if (seconds < 1) {
    return fmt::format("{:.3g} ms", seconds * 1e3);
  }
  if (seconds < 10) {
    return fmt::format("{:.1f} s", seconds);
  }
  const auto whole = static_cast<long>(seconds + 0.5);
  if (whole < 60) {
    return fmt::format("{} s", whole);
  }
  if (whole < 3600) {
    return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  }
  if (whole < 86400) {
    return fmt::format("{} h {:02} min", whole / 3600, whole % 3600 / 60);
  }
  return fmt::format("{} d {:02} h", whole / 86400, whole % 86400 / 3600);
}

}  // namespace muster
