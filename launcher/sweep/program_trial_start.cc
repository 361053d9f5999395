// How a trial's processes are started: its directory, its command line, its ranks.
// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cmath>

#include "launcher/program/opt_ml.h"
#include "launcher/sweep/program_trial.h"
#include "runtime/base/error.h"
#include "runtime/base/memory_left.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

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
  job.gpus = seat.gpus ? static_cast<int>(seat.gpus->size()) : 0;
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
      counted_(seat.from),
      kills_before_(out_of_memory_kills()) {
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
  if (!plan.is_job) {
    events_.emplace(job_.directory, static_cast<std::uint64_t>(std::max(0.0, seat.from)),
                    job_.hyperparameters);
  }
  if (plan.memory) {
    cap_ = std::make_unique<MemoryCap>(job_.name, *plan.memory, plan.uses_groups);
  }
  if (plan.timeout) {
    deadline_ = now + seconds_long(*plan.timeout);
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
  if (seat.gpus) {
    spec.environment["CUDA_VISIBLE_DEVICES"] = join(*seat.gpus, ",");
  }
  Pipe output = output_pipe();
  Pipe error = output_pipe();
  spec.output = output.theirs.get();
  spec.error = error.theirs.get();
  ranks_.push_back({Process::start(spec),
                    LineReader(std::move(output.ours)),
                    LineReader(std::move(error.ours)),
                    {}});
  if (cap_) {
    cap_->hold(ranks_.back().process.pid());
  }
}

}  // namespace muster
