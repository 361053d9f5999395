// SPDX-License-Identifier: Apache-2.0
#include "runtime/base/log.h"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <mutex>

#include "runtime/base/clock.h"
#include "runtime/base/console.h"
#include "runtime/base/thread_log.h"

namespace muster::log {
namespace {

struct State {
  std::mutex mutex;
  Label label;
  std::function<void(Level, std::string_view)> sink;
};
State& state() {
  static auto* the_state =
      new State;  // never destroyed: threads may log while the program ends  NOLINT
  return *the_state;
}
std::atomic<Level> threshold{Level::info};
thread_local Label thread_label;
thread_local int thread_file = -1;

/// A full disk costs lines of the log, nothing else.
void write_to(int descriptor, std::string_view line) {
  if (descriptor >= 0) {
    const std::string text = fmt::format("{}\n", line);
    [[maybe_unused]] const auto written = ::write(descriptor, text.data(), text.size());
  }
}

std::string_view name(Level level) {
  switch (level) {
    case Level::debug:
      return "debug ";
    case Level::warning:
      return "warning: ";
    case Level::error:
      return "error: ";
    case Level::info:
    case Level::live:
      break;
  }
  return "";
}

}  // namespace

void set_label(Label label) {
  const std::lock_guard lock(state().mutex);
  state().label = std::move(label);
}

void set_thread_label(Label label) {
  thread_label = std::move(label);
}
void set_thread_file(int descriptor) {
  thread_file = descriptor;
}
void aside(std::string_view text) {
  write_to(thread_file, fmt::format("{} {}", iso_time(std::chrono::system_clock::now()), text));
}
void set_threshold(Level least) {
  threshold = least;
}

void set_sink(std::function<void(Level, std::string_view)> sink) {
  const std::lock_guard lock(state().mutex);
  state().sink = std::move(sink);
}

void write(Level level, std::string_view text) {
  if ((level == Level::live ? Level::info : level) < threshold) {
    return;
  }
  const std::lock_guard lock(state().mutex);
  const int rank = thread_label.rank >= 0 ? thread_label.rank : state().label.rank;
  const std::string& trial = thread_label.trial.empty() ? state().label.trial : thread_label.trial;
  std::string line = iso_time(std::chrono::system_clock::now());
  if (rank >= 0) {
    line += fmt::format(" [rank {}]", rank);
  }
  if (!trial.empty()) {
    line += fmt::format(" [trial {}]", trial);
  }
  line += fmt::format(" {}{}", name(level), text);
  if (level != Level::live) {
    write_to(thread_file, line);
  }
  if (state().sink) {
    state().sink(level, line);
    return;
  }
  if (level != Level::live) {
    console::line(STDERR_FILENO, line);
  } else if (console::is_terminal()) {
    console::live(text);
  } else {
    line += '\r';  // whoever reads this knows that the next one replaces it
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
  }
}

std::string_view without_head(std::string_view line) {
  constexpr std::size_t time_length = sizeof "2026-11-21T03:09:03.120Z";
  if (line.size() < time_length || line[10] != 'T' || line[time_length - 2] != 'Z') {
    return line;
  }
  line.remove_prefix(time_length);
  const std::size_t end = line.starts_with("[rank ") ? line.find("] ") : std::string_view::npos;
  return end == std::string_view::npos ? line : line.substr(end + 2);
}

}  // namespace muster::log
