/// Clock: what time it is and how to wait, behind an interface so that tests drive it.
/// `now` never goes back and means nothing across machines; `wall` is for people and files.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <mutex>
#include <string>

namespace muster {

using Nanoseconds = std::chrono::nanoseconds;
using Monotonic = std::chrono::steady_clock::time_point;
using WallTime = std::chrono::system_clock::time_point;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual Monotonic now() const = 0;
  virtual WallTime wall() const = 0;
  virtual void sleep_until(Monotonic when) = 0;
};

/// The machine's own clock.
class SystemClock final : public Clock {
 public:
  Monotonic now() const override { return std::chrono::steady_clock::now(); }
  WallTime wall() const override { return std::chrono::system_clock::now(); }
  void sleep_until(Monotonic when) override;
};

/// A clock that stands still until told otherwise. `sleep_until` jumps. Thread-safe.
class VirtualClock final : public Clock {
 public:
  explicit VirtualClock(WallTime start = WallTime{}) : wall_start_(start) {}
  Monotonic now() const override;
  WallTime wall() const override;
  void sleep_until(Monotonic when) override;
  void advance(Nanoseconds by);

 private:
  mutable std::mutex mutex_;
  Monotonic now_{};
  WallTime wall_start_;
};

/// "2026-11-21T03:09:03.120Z"
std::string iso_time(WallTime when);
/// "4.2 ms", "12 s", "3 min 20 s", "2 h 05 min": two figures that a person reads.
std::string human_duration(Nanoseconds duration);

}  // namespace muster
