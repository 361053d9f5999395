// SPDX-License-Identifier: Apache-2.0
#include "launcher/engine/launched_group.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <csignal>

#include "launcher/engine/end_record.h"
#include "launcher/engine/tool.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

/// How long a shared file system may take to show what a host has written after its launcher has
/// ended.
constexpr auto patience = std::chrono::seconds(3);
constexpr std::size_t kept_words = 40;

std::unique_ptr<Process> start(const JobLaunch& launch, std::vector<std::string> command,
                               Environment environment, std::unique_ptr<LineReader>& words) {
  Pipe pipe = output_pipe();
  ProcessSpec spec;
  spec.command = std::move(command);
  spec.environment = std::move(environment);
  spec.directory = launch.directory;
  spec.output = spec.error = pipe.theirs.get();
  spec.ask_first_ms = launch.ask_launcher_first ? 1500 : 0;
  words = std::make_unique<LineReader>(std::move(pipe.ours));
  return std::make_unique<Process>(Process::start(spec));
}

}  // namespace

std::vector<std::string> attended(const JobLaunch& launch) {
  std::vector<std::string> command{
      std::filesystem::read_symlink("/proc/self/exe").string(), "attend",  "--logs",
      std::filesystem::absolute(launch.log_directory).string(), "--start", launch.start};
  if (launch.foreign) {
    command.push_back("--foreign");
  }
  if (launch.on_cpu) {
    command.push_back("--on_cpu");
  }
  if (launch.threads > 0) {
    command.insert(command.end(), {"--threads", std::to_string(launch.threads)});
  }
  command.insert(command.end(),
                 {"--hang_after",
                  fmt::format("{:.3f}", std::chrono::duration<double>(launch.hang_after).count())});
  command.push_back("--");
  command.insert(command.end(), launch.command.begin(), launch.command.end());
  return command;
}

LaunchedGroup::LaunchedGroup(const JobLaunch& launch, std::vector<std::string> command,
                             Environment environment, Explain explain)
    : logs_(launch.log_directory),
      launcher_(command.front()),
      beats_(logs_, launch.ranks),
      explain_(std::move(explain)),
      ranks_(static_cast<std::size_t>(launch.ranks)) {
  auto& files = posix_file_system();
  files.make_directory(logs_);
  orders_.start = launch.start;
  write_orders(logs_, orders_);
  for (std::size_t rank = 0; rank < ranks_.size(); ++rank) {
    files.remove(end_record_path(logs_, static_cast<int>(rank)));
    const auto log = logs_ / fmt::format("rank-{}.log", rank);
    ranks_[rank].read = files.exists(log) ? std::filesystem::file_size(log) : 0;
  }
  process_ = start(launch, std::move(command), std::move(environment), words_);
}

void LaunchedGroup::signal(int signal) {
  if (signal == SIGCONT) {  // the hint: srun keeps it for itself
    ++orders_.hints;
  } else {
    orders_.signal = signal;
  }
  write_orders(logs_, orders_);
  // Launchers pass USR1 on at once (they take TERM as an order to kill), also to who cannot heed it
  // yet and would die of it. Attendants that are still being loaded read the orders when they
  // begin.
  if (signal == SIGUSR1 && beats_.all_beat()) {
    process_->signal(signal);
  }
}

void LaunchedGroup::tell_deadline(Monotonic deadline) {
  const auto wall =
      std::chrono::system_clock::now() + (deadline - std::chrono::steady_clock::now());
  orders_.deadline_wall_ns = wall.time_since_epoch() / std::chrono::nanoseconds(1);
  write_orders(logs_, orders_);
}

void LaunchedGroup::kill() {
  killed_ = true;
  orders_.start = "over";  // for attendants that outlive their launcher
  try {
    write_orders(logs_, orders_);
  } catch (const std::exception&) {  // a full disk: the launcher's death has to do
  }
  process_->kill_tree();
}

void LaunchedGroup::poll(std::chrono::milliseconds at_most, int wake,
                         std::vector<RankEvent>& events) {
  std::array<pollfd, 3> waits{{{launcher_ended_ ? -1 : process_->descriptor(), POLLIN, 0},
                               {words_->descriptor(), POLLIN, 0},
                               {wake, POLLIN, 0}}};
  ::poll(waits.data(), waits.size(), static_cast<int>(at_most.count()));
  read_launcher(events);
  for (std::size_t rank = 0; rank < ranks_.size(); ++rank) {
    follow(static_cast<int>(rank), events);
  }
  miss_silent_ranks(events);
  if (const auto ended = process_->poll()) {
    const auto now = std::chrono::steady_clock::now();
    launcher_ended_ = launcher_ended_.value_or(now);
    const bool all = std::ranges::all_of(ranks_, [](const Followed& rank) { return rank.ended; });
    const bool none = std::ranges::none_of(ranks_, [](const Followed& rank) { return rank.ended; });
    if (all || killed_ ||
        now - *launcher_ended_ >
            (none && !ended->finished() ? std::chrono::seconds(1) : patience)) {
      close(*ended, events);
    }
  }
}

/// An attendant that was killed with its rank notes no end, and srun does not tell.
void LaunchedGroup::miss_silent_ranks(std::vector<RankEvent>& events) {
  const auto now = std::chrono::steady_clock::now();
  if (killed_ || !beats_.is_due(now)) {
    return;
  }
  std::vector<int> watched;
  for (std::size_t rank = 0; rank < ranks_.size(); ++rank) {
    if (!ranks_[rank].ended) {
      watched.push_back(static_cast<int>(rank));
    }
  }
  for (auto& [rank, lost] : beats_.look(watched, now)) {
    ranks_[static_cast<std::size_t>(rank)].ended = true;
    RankEvent event;
    event.kind = RankEvent::Kind::ended;
    event.rank = rank;
    event.ended.status = SIGKILL;
    event.host = lost.host;
    event.cause =
        fmt::format("nothing is heard of it for {}: {}", human_duration(lost.silent),
                    lost.host.empty() ? "its launcher has not started it"
                                      : "its host is lost, or somebody killed its attendant");
    events.push_back(read_end_record(logs_, rank, true).value_or(std::move(event)));
  }
}

void LaunchedGroup::read_launcher(std::vector<RankEvent>& events) {
  std::vector<std::string> lines;
  words_->read(lines);
  for (auto& line : lines) {
    RankEvent event;
    event.rank = -1;
    event.text = line;
    events.push_back(std::move(event));
    last_words_.push_back(std::move(line));
  }
  if (last_words_.size() > kept_words) {
    last_words_.erase(last_words_.begin(), last_words_.end() - kept_words);
  }
}

void LaunchedGroup::follow(int rank, std::vector<RankEvent>& events) {
  auto& followed = ranks_[static_cast<std::size_t>(rank)];
  if (followed.ended) {
    return;
  }
  auto ended =
      read_end_record(logs_, rank);  // before the log: what is in the log then is all of it
  const auto log = logs_ / fmt::format("rank-{}.log", rank);
  if (posix_file_system().exists(log)) {
    auto file = posix_file_system().open(log, OpenMode::read);
    std::string text(
        std::min<std::uint64_t>(file->size() - std::min(file->size(), followed.read), 1 << 20),
        '\0');
    text.resize(file->read_at(followed.read, std::as_writable_bytes(std::span(text))));
    followed.read += text.size();
    followed.unfinished += text;
  }
  std::size_t from = 0;
  for (std::size_t end; (end = followed.unfinished.find('\n', from)) != std::string::npos;
       from = end + 1) {
    RankEvent event;
    event.rank = rank;
    event.text = followed.unfinished.substr(from, end - from);
    event.in_file = true;
    events.push_back(std::move(event));
  }
  followed.unfinished.erase(0, from);
  if (ended) {
    followed.ended = true;
    events.push_back(std::move(*ended));
  }
}

/// The launcher's words are the cause, or its death.
std::string LaunchedGroup::why_none_ended(const Ended& launcher) const {
  const std::string text =
      beats_.anybody_came()
          ? fmt::format("{} {}, and the ranks with it", launcher_, launcher.text())
          : fmt::format("the ranks did not start: {} {}", launcher_, launcher.text());
  return last_words_.empty() ? text : text + ": " + join(last_words_, " / ");
}

void LaunchedGroup::close(const Ended& ended, std::vector<RankEvent>& events) {
  over_ = true;
  const bool none = std::ranges::none_of(ranks_, [](const Followed& rank) { return rank.ended; });
  for (std::size_t rank = 0; rank < ranks_.size(); ++rank) {
    if (ranks_[rank].ended) {
      continue;
    }
    RankEvent event;
    event.kind = RankEvent::Kind::ended;
    event.rank = static_cast<int>(rank);
    event.ended = ended;
    if (const auto told = read_end_record(logs_, event.rank, true)) {
      event = *told;
    } else if (killed_) {
      event.ended.status = SIGKILL;
    } else if (none && rank == 0) {
      const auto why = explain_ ? explain_(last_words_) : std::nullopt;
      event.cause = why.value_or(why_none_ended(ended));
      event.fault = why ? Fault::bad_input : Fault::io;
    } else if (!ended.finished()) {
      event.ended.status = SIGKILL;
      event.cause = fmt::format("left no word of its end; {} {}", launcher_, ended.text());
      event.cause += last_words_.empty() ? "" : ": " + last_words_.back();
      event.fault = Fault::communication;
    }
    events.push_back(std::move(event));
  }
}

}  // namespace muster
