// SPDX-License-Identifier: Apache-2.0
#include "launcher/rank/rank_files.h"

#include <unistd.h>

#include <limits>
#include <memory>

#include "launcher/supervise/run_directory.h"
#include "runtime/base/console.h"
#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/base/text.h"
#include "runtime/track/progress.h"

namespace muster {
namespace {

constexpr std::int64_t no_limit = std::numeric_limits<std::int64_t>::max();
constexpr const char* gpus_name = "gpus";

/// How far a run was told to go, for when it has been there.
std::string goal_of(const TrainSettings& train) {
  return std::to_string(train.epochs) + " epochs, " +
         std::to_string(train.steps.value_or(no_limit)) + " steps at most\n";
}

/// Whether that goal is no nearer than today's.
bool is_as_far(const std::string& goal, const TrainSettings& train) {
  const auto before = words(goal);
  return before.size() > 2 && parse_int(before[0]).value_or(0) >= train.epochs &&
         parse_int(before[2]).value_or(0) >= train.steps.value_or(no_limit);
}

}  // namespace

RankFiles::RankFiles(const JobSettings& job, int rank, bool is_supervised)
    : name_(job.name),
      root_(std::filesystem::absolute(Path(job.runs) / job.name)),
      rank_(rank),
      is_supervised_(is_supervised) {}

void RankFiles::settle(const Keys& keys, const Resolved& resolved) const {
  if (rank_ != 0 || is_supervised_) {
    return;
  }
  FileSystem& files = posix_file_system();
  files.make_directory(root_);
  const RunFiles run{root_};
  const auto before = read_file_if_there(run.config());
  if (before && !run.came_to_nothing()) {
    require_same_settings(keys, resolved.file_text, *before, name_, root_.string());
  }
  files.remove(run.failure());  // of the start before
  write_file_durably(run.config(), resolved.file_text);
}

void RankFiles::open_log() const {
  if (is_supervised_) {
    return;
  }
  posix_file_system().make_directory(root_ / "log");
  // Shared by the sink alone, which the log keeps until the process ends.
  auto file = std::shared_ptr<File>(posix_file_system().open(
      root_ / "log" / ("rank-" + std::to_string(rank_) + ".log"), OpenMode::append));
  log::set_sink([file, lives = KeptLives(), is_first = rank_ == 0](log::Level level,
                                                                   std::string_view line) mutable {
    const bool is_live = level == log::Level::live;
    const bool is_drawn = is_live && console::is_terminal();
    if (is_drawn) {
      console::live(log::without_head(line));
    }
    if (is_live && !lives.keeps(std::chrono::steady_clock::now())) {
      return;
    }
    try {
      file->append(as_bytes(std::string(line) + "\n"));
    } catch (const Error&) {
      // A full disk must not end a run because of its log.
    }
    if (!is_drawn && (is_first || level >= log::Level::warning)) {
      console::line(STDERR_FILENO, line);
    }
  });
}

void RankFiles::write_state(const std::string& state, std::uint64_t step, double epoch) const {
  if (rank_ != 0 || is_supervised_) {
    return;
  }
  try {
    write_status(root_, TrainStatus{.name = name_, .state = state, .step = step, .epoch = epoch},
                 std::chrono::system_clock::now());
  } catch (const Error& error) {
    log::warning("the state of the run was not written; it goes on: " + report(error));
  }
}

void RankFiles::write_failure(const std::string& text) const {
  try {
    if (!is_supervised_ && posix_file_system().exists(root_)) {
      write_file_atomically(root_ / "failure", text + "\n");
    }
  } catch (const Error& error) {  // of a full disk, which is why it failed
    log::warning("the file failure was not written: " + report(error));
  }
}

void RankFiles::write_finished(const TrainSettings& train) const {
  write_file_durably(root_ / "finished", goal_of(train));
}

bool RankFiles::has_finished(const TrainSettings& train) const {
  return is_as_far(read_file_if_there(root_ / "finished").value_or(""), train);
}

bool RankFiles::needs_gpus(const TrainSettings& train) const {
  const auto before = read_file_if_there(root_ / gpus_name);
  return before && !is_as_far(*before, train);
}

void RankFiles::note_gpus() const {
  if (rank_ == 0) {
    write_file_durably(root_ / gpus_name, "");
  }
}

void RankFiles::note_finished_on_gpus(const TrainSettings& train) const {
  if (rank_ == 0) {
    write_file_durably(root_ / gpus_name, goal_of(train));
  }
}

void RankFiles::forget_gpus() const {
  if (rank_ == 0) {
    posix_file_system().remove(root_ / gpus_name);
  }
}

}  // namespace muster
