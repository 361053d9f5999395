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

void RankLogs::line(int rank, bool error_stream, std::string_view text, WallTime now,
                    bool already_in_file) {
  auto& tail = tails_[rank];
  tail.emplace_back(text);
  if (tail.size() > tail_length) {
    tail.pop_front();
  }
  try {
    if (on_line_) {
      on_line_(rank, text);
    }
    if (!already_in_file) {
      file_of(rank).append(as_bytes(std::string(text) + "\n"));
    }
    file_of(merged).append(as_bytes(
        has_time_and_rank(text) ? fmt::format("{}\n", text)
                                : fmt::format("{} [rank {}] {}\n", iso_time(now), rank, text)));
  } catch (
      const Error& error) {  // a full disk must not end the job that may be saving on another one
    if (!broken_) {
      log::warning(fmt::format("the logs are incomplete: {}", error.what()));
    }
    broken_ = true;
  }
  to_console(rank, error_stream, text);
}

void RankLogs::to_console(int rank, bool error_stream, std::string_view text) const {
  if (console_ == Console::nobody || (console_ == Console::rank_zero && rank != 0)) {
    return;
  }
  const std::string whole = console_ == Console::everybody && !has_time_and_rank(text)
                                ? fmt::format("[rank {}] {}\n", rank, text)
                                : fmt::format("{}\n", text);
  std::string_view rest = whole;
  while (!rest.empty()) {
    const auto put =
        ::write(error_stream ? STDERR_FILENO : STDOUT_FILENO, rest.data(), rest.size());
    if (put <= 0) {
      return;  // a closed console is no reason to stop a job
    }
    rest.remove_prefix(static_cast<std::size_t>(put));
  }
}

void RankLogs::mark(std::string text, int ranks, WallTime now) {
  const std::string line = fmt::format("--- {} {} ---\n", iso_time(now), text);
  try {
    for (int rank = 0; rank < ranks; ++rank) {
      file_of(rank).append(as_bytes(line));
    }
    file_of(merged).append(as_bytes(line));
  } catch (const Error& error) {
    log::warning(fmt::format("the logs are incomplete: {}", error.what()));
    broken_ = true;
  }
}

std::vector<std::string> RankLogs::tail(int rank) const {
  const auto found = tails_.find(rank);
  return found == tails_.end()
             ? std::vector<std::string>()
             : std::vector<std::string>(found->second.begin(), found->second.end());
}

}  // namespace muster
