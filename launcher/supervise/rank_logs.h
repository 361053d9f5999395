/// RankLogs: what the ranks print: a file per rank, one stream of all with rank and time, and the
/// console. Keeps the last lines of every rank for the end of a failed run.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/engine/engine.h"
#include "launcher/supervise/run_directory.h"
#include "runtime/base/clock.h"
#include "runtime/base/console.h"

namespace muster {

/// Whose lines the console shows.
enum class Console { nobody, rank_zero, everybody };

class RankLogs {
 public:
  static constexpr std::size_t tail_length = 20;
  /// `on_line` hears what is logged; may be empty.
  RankLogs(RunFiles files, Console console,
           std::function<void(int rank, std::string_view line)> on_line = {});
  /// One line of a rank, as its engine heard it. Live lines reach a terminal, and now and then the
  /// files.
  void line(const RankEvent& event, WallTime now);
  /// "--- attempt 2 ---" in every file that is written to from here on.
  void mark(std::string text, int ranks, WallTime now);
  std::vector<std::string> tail(int rank) const;

 private:
  File& file_of(int rank);
  void keep(const RankEvent& event, WallTime now);
  void unless_broken(const std::function<void()>& write);
  void to_console(const RankEvent& event) const;
  RunFiles files_;
  Console console_;
  std::function<void(int, std::string_view)> on_line_;
  bool broken_ = false;  ///< a full disk was reported once; lines still reach the console
  std::map<int, std::unique_ptr<File>> open_;
  std::map<int, std::deque<std::string>> tails_;
  std::map<int, KeptLives> lives_;
};

}  // namespace muster
