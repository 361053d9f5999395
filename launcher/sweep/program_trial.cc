// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/program_trial.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <fstream>

#include "launcher/program/opt_ml.h"
#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/log.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

constexpr std::size_t kept_words = 20;
constexpr auto look_interval = std::chrono::milliseconds(200);

Monotonic after(Monotonic now, double seconds) {
  return now +
         std::chrono::duration_cast<Monotonic::duration>(std::chrono::duration<double>(seconds));
}

/// A port that is free now, for the rendezvous of a trial with several ranks.
int free_port() {
  const Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  if (!socket || ::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), length) != 0 ||
      ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    throw_errno("find a free port for the ranks of a trial", errno);
  }
  return ntohs(address.sin_port);
}

ProgramJob job_of(const ProgramTrialPlan& plan, const ProgramTrialSeat& seat) {
  ProgramJob job;
  job.name = fmt::format("{}-{:04}", plan.sweep, seat.trial);
  job.directory = trial_directory(plan.trials, seat.trial);
  job.command = plan.command;
  job.hyperparameters = seat.parameters;
  job.style = plan.style;
  job.channels = plan.channels;
  job.cpus = std::max(1, static_cast<int>(seat.cpus.size()));
  job.gpus = static_cast<int>(seat.gpus.size());
  if (!plan.resource_argument.empty()) {
    std::erase_if(job.hyperparameters,
                  [&](const auto& entry) { return entry.first == plan.resource_argument; });
    if (std::isfinite(seat.to)) {
      job.hyperparameters.emplace_back(plan.resource_argument, exact(seat.to));
    }
  }
  if (plan.is_job) {
    job.command.push_back("--runs=" + plan.trials.string());
    job.command.push_back("--name=" + job.directory.filename().string());
  }
  return job;
}

std::string config_text(const Parameters& parameters) {
  std::string text = "[hyperparameters]\n";
  for (const auto& [key, value] : parameters) {
    text += fmt::format("{} = {}\n", key, value);
  }
  return text;
}

/// Resident bytes of a process and of everything below it.
std::uint64_t resident_below(pid_t pid) {
  std::uint64_t pages = 0;
  std::uint64_t size = 0;
  std::ifstream(fmt::format("/proc/{}/statm", pid)) >> size >> pages;
  std::uint64_t bytes = pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  std::ifstream children(fmt::format("/proc/{0}/task/{0}/children", pid));
  for (pid_t child = 0; children >> child;) {
    bytes += resident_below(child);
  }
  return bytes;
}

}  // namespace

Path trial_directory(const Path& trials, std::uint32_t trial) {
  return trials / fmt::format("{:04}", trial);
}

ProgramTrial::ProgramTrial(const ProgramTrialPlan& plan, const ProgramTrialSeat& seat,
                           Monotonic now)
    : plan_(plan),
      job_(job_of(plan, seat)),
      line_metrics_(plan.metrics),
      file_metrics_(job_.directory / "metrics.jsonl",
                    plan.resource_metric.empty() ? plan.resource_argument : plan.resource_metric),
      from_(seat.from),
      counted_(seat.from) {
  auto& files = posix_file_system();
  if (!plan.is_job) {
    make_tree(job_);
    write_file_atomically(job_.directory / "config.ini", config_text(job_.hyperparameters));
  }
  files.make_directory(job_.directory / "log");
  files.remove(job_.directory / "failure");
  if (plan.resource_argument.empty() &&
      !plan.is_job) {  // else a line says where it belongs, and may be unheard
    files.remove(job_.directory / "metrics.jsonl");
  }
  log_ = files.open(job_.directory / "log" / (plan.is_job ? "muster.log" : "rank-0.log"),
                    OpenMode::append);
  if (plan.timeout) {
    deadline_ = after(now, *plan.timeout);
  }
  const int processes = plan.is_job ? 1 : plan.ranks;
  const int port = processes > 1 ? free_port() : 0;
  for (int rank = 0; rank < processes; ++rank) {
    start_rank(plan, seat, rank, port);
  }
}

void ProgramTrial::start_rank(const ProgramTrialPlan& plan, const ProgramTrialSeat& seat, int rank,
                              int port) {
  ProcessSpec spec;
  spec.command = bind_opt_ml_if_named(command_line(job_), plan.directory, tree_root(job_));
  spec.directory = plan.directory;
  spec.environment = {plan.environment.begin(), plan.environment.end()};
  if (!plan.is_job) {
    for (auto& [name, value] : program_environment(job_)) {
      spec.environment[name] = value;
    }
  }
  if (plan.ranks > 1 && !plan.is_job) {
    for (auto& [name, value] :
         rendezvous_environment(rank, plan.ranks, rank, plan.ranks, "127.0.0.1", port)) {
      spec.environment[name] = value;
    }
  }
  if (!seat.cpus.empty()) {
    spec.cpus = seat.cpus;
    const auto threads =
        std::max<std::size_t>(1, seat.cpus.size() / static_cast<std::size_t>(plan.ranks));
    spec.environment.try_emplace("OMP_NUM_THREADS", std::to_string(threads));
  }
  if (!seat.gpus.empty()) {
    spec.environment["CUDA_VISIBLE_DEVICES"] = join(seat.gpus, ",");
  }
  Pipe output = output_pipe();
  Pipe error = output_pipe();
  spec.output = output.theirs.get();
  spec.error = error.theirs.get();
  ranks_.push_back({Process::start(spec),
                    LineReader(std::move(output.ours)),
                    LineReader(std::move(error.ours)),
                    {}});
}

void ProgramTrial::add_descriptors(std::vector<pollfd>& waits) const {
  for (const auto& rank : ranks_) {
    if (!rank.ended) {
      waits.push_back({rank.process.descriptor(), POLLIN, 0});
    }
    for (const int descriptor : {rank.output.descriptor(), rank.error.descriptor()}) {
      waits.push_back({descriptor, POLLIN, 0});  // poll(2) skips -1
    }
  }
}

std::optional<TrialEnding> ProgramTrial::advance(Monotonic now,
                                                 std::vector<TrialReading>& readings) {
  bool any_runs = false;
  for (auto& rank : ranks_) {
    if (!rank.ended) {
      rank.ended = rank.process.poll();
    }
    read_lines(rank, readings);  // after asking: last words come before the end
    any_runs = any_runs || !rank.ended;
  }
  if (now >= next_look_ || !any_runs) {
    next_look_ = now + look_interval;
    take(file_metrics_.read_new(), readings);
    enforce_limits(now);
  }
  const bool one_failed = std::ranges::any_of(
      ranks_, [](const Rank& rank) { return rank.ended && !rank.ended->finished(); });
  if (any_runs && one_failed) {
    stop(now);  // the others would wait for it for ever
  }
  if (kill_at_ && now >= *kill_at_) {
    for (auto& rank : ranks_) {
      rank.process.kill_tree();
    }
  }
  return any_runs ? std::nullopt : std::optional(ending());
}

void ProgramTrial::read_lines(Rank& rank, std::vector<TrialReading>& readings) {
  std::vector<std::string> lines;
  rank.output.read(lines);
  const auto from_error = static_cast<std::ptrdiff_t>(lines.size());
  rank.error.read(lines);
  for (const auto& line : lines) {
    take(line_metrics_.read(line), readings);
  }
  last_words_.insert(last_words_.end(), lines.begin() + from_error, lines.end());
  if (last_words_.size() > kept_words) {
    last_words_.erase(last_words_.begin(), last_words_.end() - kept_words);
  }
  write_log(lines);
}

void ProgramTrial::write_log(const std::vector<std::string>& lines) {
  if (lines.empty() || !log_) {
    return;
  }
  try {
    log_->append(as_bytes(join(lines, "\n") + "\n"));
  } catch (const Error& error) {  // a full disk must not end the trial
    log::warning(fmt::format("the log of trial {} ends here: {}", job_.name, error.what()));
    log_.reset();
  }
}

void ProgramTrial::take(const std::vector<MetricPoint>& points,
                        std::vector<TrialReading>& readings) {
  for (const auto& point : points) {
    if (point.name != plan_.objective) {
      latest_[point.name] = point.value;
      continue;
    }
    if (!plan_.resource_argument.empty() && point.resource && *point.resource <= from_) {
      continue;  // reported before this launch
    }
    counted_ += 1;
    last_value_ = point.value;
    readings.push_back({.value = point.value,
                        .resource = point.resource.value_or(counted_),
                        .others = {latest_.begin(), latest_.end()}});
  }
}

void ProgramTrial::enforce_limits(Monotonic now) {
  if (now >= deadline_ && !stopping()) {
    verdict_ = fmt::format("ran longer than trial.timeout = {}",
                           human_duration(std::chrono::duration_cast<Nanoseconds>(
                               std::chrono::duration<double>(*plan_.timeout))));
    stop(now);
  }
  if (plan_.memory && !too_large_ && used_memory() > *plan_.memory) {
    too_large_ = true;
    for (auto& rank : ranks_) {  // no grace: it would take the machine with it
      rank.process.kill_tree();
    }
  }
}

std::uint64_t ProgramTrial::used_memory() const {
  std::uint64_t bytes = 0;
  for (const auto& rank : ranks_) {
    bytes += rank.ended ? 0 : resident_below(rank.process.pid());
  }
  return bytes;
}

void ProgramTrial::stop(Monotonic now) {
  if (stopping()) {
    return;
  }
  kill_at_ = after(now, plan_.grace);
  for (auto& rank : ranks_) {
    rank.process.signal(SIGTERM);
  }
}

std::vector<std::string> ProgramTrial::complaints() const {
  auto sentences = line_metrics_.complaints();
  std::ranges::copy(file_metrics_.complaints(), std::back_inserter(sentences));
  return sentences;
}

std::string ProgramTrial::failure_of(const Rank& rank) const {
  if (const auto own = std::string(trim(failure_text(job_))); !own.empty()) {
    return own.substr(0, own.find('\n'));
  }
  const auto last =
      std::ranges::find_if(last_words_.rbegin(), last_words_.rend(),
                           [](const std::string& line) { return !trim(line).empty(); });
  std::string text = rank.ended->text();
  if (last != last_words_.rend() && rank.ended->exec_error == 0) {
    text += ": " + std::string(trim(*last)).substr(0, 200);
  }
  return text;
}

TrialEnding ProgramTrial::ending() const {
  using enum TrialEnding::Kind;
  if (too_large_) {
    return {.kind = too_large,
            .reason = fmt::format("used more than trial.memory = {}",
                                  human_bytes(static_cast<double>(*plan_.memory)))};
  }
  if (!verdict_.empty()) {
    return {.kind = failed, .reason = verdict_};
  }
  for (const auto& rank : ranks_) {
    if (rank.ended->code() == exit_saved) {
      return {.kind = saved, .reason = "saved its state"};
    }
  }
  for (const auto& rank : ranks_) {
    if (!rank.ended->finished()) {
      return {.kind = failed, .reason = failure_of(rank)};
    }
  }
  return {.kind = finished, .reason = ""};
}

}  // namespace muster
