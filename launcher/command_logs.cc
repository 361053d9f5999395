// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <optional>
#include <thread>

#include "launcher/command_sweep.h"
#include "launcher/commands.h"
#include "launcher/job/find_job.h"
#include "launcher/job/run_table.h"
#include "launcher/supervise/run_directory.h"
#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/log.h"
#include "runtime/base/text.h"
#include "runtime/config/load.h"

namespace muster {
namespace {

const CommandHelp help{
    .usage =
        "muster logs NAME [--rank K] [--follow] [--lines N]\nmuster logs SWEEP [TRIAL] [--follow] "
        "[--lines N]",
    .about =
        "Shows what the ranks of a run have printed: all of them with rank and "
        "time, or one rank alone. With --follow "
        "it goes on until the run ends or Ctrl-C. Of a sweep: what one "
        "of its trials printed, or its workers.",
    .examples = {{"muster logs digits --follow --rank 1", "as it comes"},
                 {"muster logs digits --lines 20", "the end of it"},
                 {"muster logs tune_it 17", "what a program printed as a trial"}}};

/// How long until it may have printed more: nothing when it neither runs nor waits in a queue.
std::optional<std::chrono::milliseconds> next_look(const FoundJob& job) {
  const auto now = std::chrono::system_clock::now();
  if (is_owned(job.root, now)) {
    return std::chrono::milliseconds(100);
  }
  const bool waits = row_of(job, now).state == state::pending;
  return waits ? std::optional(std::chrono::milliseconds(1000)) : std::nullopt;
}

/// Time for a job that was preempted to be back in Slurm's queue.
constexpr auto on_its_way_back = std::chrono::seconds(15);

/// Waits until it may have printed more; false once it neither runs nor is to come back.
class Following {
 public:
  explicit Following(const FoundJob& job) : job_(job) {}

  bool goes_on() {
    const auto wait = next_look(job_);
    if (wait) {
      seen_ = std::chrono::steady_clock::now();
      say_it_waits(*wait);
      std::this_thread::sleep_for(*wait);
      return true;
    }
    if (!comes_back() || std::chrono::steady_clock::now() - seen_ > on_its_way_back) {
      return false;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    return true;
  }

 private:
  bool comes_back() const {
    const auto row = row_of(job_, std::chrono::system_clock::now());
    return row.state == state::interrupted && !row.status.slurm_job.empty();
  }
  void say_it_waits(std::chrono::milliseconds wait) {
    const bool waits = wait > std::chrono::milliseconds(100);
    if (waits && !said_) {
      log::info(fmt::format("{} waits in Slurm's queue; Ctrl-C ends this, not the run", job_.name));
    }
    said_ = waits;
  }
  const FoundJob& job_;
  bool said_ = false;
  std::chrono::steady_clock::time_point seen_ = std::chrono::steady_clock::now();  ///< alive
};

class Shown {
 public:
  explicit Shown(Path path) : path_(std::move(path)) {}

  /// What is new since the last call, to stdout.
  void more() {
    if (!posix_file_system().exists(path_)) {
      return;
    }
    auto file = posix_file_system().open(path_, OpenMode::read);
    std::string text(64 * 1024, '\0');
    while (const auto got = file->read_at(place_, std::as_writable_bytes(std::span(text)))) {
      std::fwrite(text.data(), 1, got, stdout);
      place_ += got;
    }
    std::fflush(stdout);
  }

  /// Goes to where the last `lines` lines begin.
  void skip_to_last(int lines) {
    const auto text = read_file_if_there(path_).value_or("");
    std::size_t from = text.size();
    for (int found = 0; from > 0; --from) {
      if (text[from - 1] == '\n' && from != text.size() && ++found == lines) {
        break;
      }
    }
    place_ = lines == 0 ? text.size() : from;
  }

 private:
  Path path_;
  std::uint64_t place_ = 0;
};

}  // namespace

int command_logs(const Arguments& arguments) {
  Keys keys;
  bool follow = false;
  std::optional<int> rank;
  std::optional<int> lines;
  std::string runs = "runs";
  std::string sweeps = "sweeps";
  keys.add("sweeps", sweeps, "Directory of all sweeps").only_on_command_line().placeholder("DIR");
  keys.add("rank", rank, "One rank instead of all").at_least(0).only_on_command_line();
  keys.add("follow", follow, "Go on until the run ends").only_on_command_line();
  keys.add("lines", lines, "Only the last so many").at_least(0).only_on_command_line();
  keys.add("runs", runs, "Directory of all runs").only_on_command_line().placeholder("DIR");
  const auto line = take_command_line(keys, arguments, help);
  if (!line) {
    return exit_finished;
  }
  load(keys, {{}, {}, line->options});
  if (line->words.empty() || line->words.size() > 2) {
    throw Error(Fault::bad_input,
                "it takes the name of a run, or of a sweep and one of its trials: muster logs NAME "
                "(muster ls lists them)");
  }
  const auto found = find_job(line->words.front(), {runs, sweeps});
  const bool is_sweep = found.kind == JobKind::sweep;
  if (!is_sweep && line->words.size() > 1) {
    throw Error(Fault::bad_input, found.name + " is a run: it has no trials");
  }
  const RunFiles files{found.root};
  const Path path = is_sweep ? log_of_sweep(found, line->words.size() > 1 ? line->words[1] : "")
                    : rank   ? files.rank_log(*rank)
                             : files.merged_log();
  if (!posix_file_system().exists(path) && !(follow && next_look(found))) {
    throw Error(Fault::bad_input,
                rank ? fmt::format("{} has no log of rank {}; there are: {}", found.name, *rank,
                                   join(posix_file_system().list(files.logs()), " "))
                     : fmt::format("{} has printed nothing yet", found.name));
  }
  Shown shown(path);
  if (lines) {
    shown.skip_to_last(*lines);
  }
  shown.more();
  for (Following following(found); follow && following.goes_on();) {
    shown.more();
  }
  shown.more();
  return exit_finished;
}

}  // namespace muster
