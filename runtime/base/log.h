/// Log: one line an event, on stderr: time, level, rank, trial, text. Never stdout, which belongs
/// to results. Thread-safe; a line is one write(2), so that lines of several processes never mix.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace muster::log {

/// `live`: a progress line, of which on a terminal the next takes the place, without its head; it
/// counts as info.
enum class Level { debug, info, warning, error, live };

/// What every line of this process (or of this thread, with `for_thread`) carries. Empty parts are
/// left out.
struct Label {
  int rank = -1;      ///< "[rank 3]"
  std::string trial;  ///< "[trial 17]"
};
void set_label(Label label);
void set_thread_label(Label label);
void set_threshold(Level least);
/// Where lines go instead of stderr; the line has no newline. An empty function restores stderr.
/// For tests and the live table.
void set_sink(std::function<void(Level, std::string_view line)> sink);
/// Of a line that a process of ours wrote: its text without time and rank.
std::string_view without_head(std::string_view line);

void write(Level level, std::string_view text);
inline void debug(std::string_view text) {
  write(Level::debug, text);
}
inline void info(std::string_view text) {
  write(Level::info, text);
}
inline void warning(std::string_view text) {
  write(Level::warning, text);
}
inline void error(std::string_view text) {
  write(Level::error, text);
}

}  // namespace muster::log
