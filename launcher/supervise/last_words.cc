// SPDX-License-Identifier: Apache-2.0
#include "launcher/supervise/last_words.h"

#include <algorithm>
#include <array>
#include <csignal>

#include "launcher/supervise/back_trace.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

constexpr std::size_t kept_lines = 20;
constexpr std::string_view back_trace_follows = "back-trace:";
constexpr std::string_view crash = "crashed with ";  // of runtime/comm/crash_record.h

bool is_complaint(std::string_view line) {
  constexpr std::array words{"error: ", "Error: ", "what():", "Assertion"};
  return std::ranges::any_of(
      words, [&](const char* word) { return line.find(word) != std::string_view::npos; });
}

/// "crashed with SIGSEGV at address 0x0, in thread trial 3" without what `how` says already.
std::string_view without_signal(std::string_view line) {
  if (!line.starts_with(crash)) {
    return line;
  }
  const auto after = line.find_first_of(" ,", crash.size());
  return after == std::string_view::npos ? line : trim(line.substr(after + 1));
}

}  // namespace

void LastWords::hear(std::string_view line) {
  const auto words = trim(line);
  if (is_frame(words)) {
    has_back_trace_ = true;
    return;
  }
  if (words.empty() || words == back_trace_follows) {
    return;
  }
  lines_.emplace_back(words);
  if (lines_.size() > kept_lines) {
    lines_.pop_front();
  }
}

std::string LastWords::why(const Ended& how) const {
  if (lines_.empty() || how.signal() == SIGKILL || how.signal() == SIGTERM) {
    return "";
  }
  auto line = std::find_if(lines_.rbegin(), lines_.rend(), [](const std::string& one) {
    return is_complaint(one) || one.starts_with(crash);
  });
  if (line == lines_.rend()) {
    return lines_.back();
  }
  // What it died of comes before the record of its crash: an exception, an assertion.
  if (const auto before = line + 1;
      line->starts_with(crash) && before != lines_.rend() && is_complaint(*before)) {
    line = before;
  }
  return std::string(without_signal(*line));
}

bool LastWords::any_has(std::string_view word) const {
  return std::ranges::any_of(
      lines_, [&](const std::string& line) { return line.find(word) != std::string::npos; });
}

}  // namespace muster
