// SPDX-License-Identifier: Apache-2.0
#include "launcher/supervise/rank_logs.h"

#include <fmt/format.h>
#include <unistd.h>

#include "runtime/base/error.h"
#include "runtime/base/log.h"

namespace muster {
namespace {

constexpr int merged = -2;  // the key of the stream of all ranks

/// "2026-11-28T17:01:41.563Z [rank 0] epoch 5": a line of ours, which has its time and rank.
bool has_time_and_rank(std::string_view line) {
  constexpr std::size_t time = 24;
  return line.size() > time && line[10] == 'T' && line[time - 1] == 'Z' &&
         line.substr(time).starts_with(" [rank ");
}

}  // namespace

RankLogs::RankLogs(RunFiles files, Console console,
                   std::function<void(int, std::string_view)> on_line)
    : files_(std::move(files)), console_(console), on_line_(std::move(on_line)) {
  posix_file_system().make_directory(files_.logs());
}

File& RankLogs::file_of(int rank) {
  auto& file = open_[rank];
  if (!file) {
    const Path path = rank == merged ? files_.merged_log()
                      : rank < 0     ? files_.logs() / "launcher.log"
                                     : files_.rank_log(rank);
    file = posix_file_system().open(path, OpenMode::append);
  }
  return *file;
}

void RankLogs::line(const RankEvent& event, WallTime now) {
  if (on_line_) {
    unless_broken([&] { on_line_(event.rank, event.text); });
  }
  const bool is_drawn = event.is_live && console::is_terminal();
  if (is_drawn) {
    to_console(event);
  }
  if (event.is_live && !lives_[event.rank].keeps(std::chrono::steady_clock::now())) {
    return;
  }
  auto& tail = tails_[event.rank];
  tail.push_back(event.text);
  if (tail.size() > tail_length) {
    tail.pop_front();
  }
  unless_broken([&] { keep(event, now); });
  if (!is_drawn) {
    to_console(event);
  }
}

/// A full disk must not end the job that may be saving on another one.
void RankLogs::unless_broken(const std::function<void()>& write) {
  try {
    write();
  } catch (const Error& error) {
    if (!broken_) {
      log::warning(fmt::format("the logs are incomplete: {}", error.what()));
    }
    broken_ = true;
  }
}

void RankLogs::keep(const RankEvent& event, WallTime now) {
  if (!event.in_file) {
    file_of(event.rank).append(as_bytes(event.text + "\n"));
  }
  file_of(merged).append(
      as_bytes(has_time_and_rank(event.text)
                   ? event.text + "\n"
                   : fmt::format("{} [rank {}] {}\n", iso_time(now), event.rank, event.text)));
}

void RankLogs::to_console(const RankEvent& event) const {
  if (console_ == Console::nobody || (console_ == Console::rank_zero && event.rank != 0)) {
    return;
  }
  const bool is_drawn = event.is_live && console::is_terminal();
  const std::string head =
      console_ == Console::everybody && (is_drawn || !has_time_and_rank(event.text))
          ? fmt::format("[rank {}] ", event.rank)
          : std::string();
  if (is_drawn) {
    console::live(head + std::string(log::without_head(event.text)));
  } else {
    const bool is_error = event.kind == RankEvent::Kind::error_output;
    console::line(is_error ? STDERR_FILENO : STDOUT_FILENO, head + event.text);
  }
}

void RankLogs::mark(std::string text, int ranks, WallTime now) {
  const std::string line = fmt::format("--- {} {} ---\n", iso_time(now), text);
  unless_broken([&] {
    for (int rank = 0; rank < ranks; ++rank) {
      file_of(rank).append(as_bytes(line));
    }
    file_of(merged).append(as_bytes(line));
  });
}

std::vector<std::string> RankLogs::tail(int rank) const {
  const auto found = tails_.find(rank);
  return found == tails_.end()
             ? std::vector<std::string>()
             : std::vector<std::string>(found->second.begin(), found->second.end());
}

}  // namespace muster
