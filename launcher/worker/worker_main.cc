// SPDX-License-Identifier: Apache-2.0
#include "launcher/worker/worker_main.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <iostream>
#include <thread>

#include "launcher/cli/command.h"
#include "launcher/engine/resources.h"
#include "launcher/sweep/spool.h"
#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/handle.h"
#include "runtime/base/log.h"

namespace muster {
namespace {

struct WorkerOptions {
  TrialWorkerPlan plan;
  std::string sweep;
  std::string spool;
  std::string name;
  int slots = 0;
};

void describe_worker(Keys& keys, WorkerOptions& options) {
  auto& plan = options.plan;
  keys.add("job", plan.job, "The job that trials are made of").only_on_command_line();
  keys.add("sweep", options.sweep, "The sweep's directory").only_on_command_line();
  keys.add("objective", plan.objective, "The metric to report").only_on_command_line();
  keys.add("max-resource", plan.max_resource, "Epochs of a whole trial").only_on_command_line();
  keys.add("commit-seconds", plan.commit_seconds, "How often a running trial is saved")
      .only_on_command_line();
  keys.add("spool", options.spool, "A sweep's directory: join it through its spool")
      .only_on_command_line();
  keys.add("name", options.name, "What a worker that joins is called").only_on_command_line();
  keys.add("slots", options.slots, "Trials at once; 0 is one a core")
      .at_least(0)
      .only_on_command_line();
}

/// Nothing when the words asked for help.
std::optional<WorkerOptions> options_from(const std::vector<std::string>& words) {
  WorkerOptions options;
  Keys keys;
  describe_worker(keys, options);
  const auto line = take_command_line(
      keys, words,
      {.usage = "muster-rank --worker --job FILE --sweep DIR --objective METRIC\n"
                "muster-rank --worker --spool sweeps/NAME [--slots N]",
       .about = "A worker of a sweep: trials of a Muster job as threads of one process."});
  if (!line) {
    return std::nullopt;
  }
  load(keys, {{}, {}, line->options});
  options.plan.sweep = options.sweep;
  options.plan.overrides = line->rest;
  return options;
}

/// stdout belongs to the protocol: what libraries print there goes to stderr.
Descriptor take_stdout() {
  Descriptor ours(::dup(STDOUT_FILENO));
  if (!ours || ::dup2(STDERR_FILENO, STDOUT_FILENO) < 0) {
    throw_errno("keep stdout for events", errno);
  }
  return ours;
}

void write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const auto put = ::write(descriptor, text.data(), text.size());
    if (put < 0 && errno != EINTR) {
      return;  // the coordinator is gone: stdin ends too, and that ends us
    }
    text.remove_prefix(static_cast<std::size_t>(std::max<ssize_t>(put, 0)));
  }
}

void save_all(TrialWorker& worker) {
  WorkerOrder end;
  end.kind = WorkerOrder::Kind::suspend;
  worker.obey(end);
}

int serve_pipes(const TrialWorkerPlan& plan) {
  std::signal(SIGPIPE, SIG_IGN);  // a coordinator that dies ends stdin, and that ends us, saved
  const Descriptor events = take_stdout();
  TrialWorker worker(
      plan, [&events](const WorkerEvent& event) { write_all(events.get(), line_of(event)); });
  write_all(events.get(), line_of(WorkerEvent{}));
  for (std::string words; std::getline(std::cin, words);) {
    worker.obey(order_from(words));
  }
  save_all(worker);
  return exit_finished;
}

/// Waits for a coordinator. Nothing when somebody asked us to leave.
std::optional<SpoolSession> await_session(const Path& spool,
                                          const std::function<bool()>& wants_out) {
  for (bool is_told = false; !wants_out(); is_told = true) {
    if (auto session = read_spool_session(spool)) {
      return session;
    }
    if (!is_told) {
      log::info(fmt::format("nobody coordinates {} yet: waiting ('muster tune' starts it)",
                            spool.parent_path().string()));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
  return std::nullopt;
}

/// One session, to its end or until we are to leave.
void serve_session(const Path& spool, const SpoolSession& session, const WorkerOptions& options,
                   const std::function<bool()>& wants_out) {
  const auto cores = std::max<std::size_t>(1, this_machine().cpus.size());
  const auto slots = options.slots > 0 ? static_cast<std::size_t>(options.slots) : cores;
  SystemClock clock;
  TrialWorkerPlan plan = worker_plan_from(session.words);
  plan.sweep = spool.parent_path();  // as it is called on this machine
  SpoolSeat seat(spool, session, options.name, slots, clock);
  TrialWorker worker(std::move(plan),
                     [&seat](const WorkerEvent& event) { seat.say(line_of(event)); });
  log::info(fmt::format("joined {} as {}", spool.parent_path().string(), seat.name()));
  while (!wants_out() && seat.holds()) {
    std::vector<std::string> lines;
    seat.orders(lines);
    for (const auto& line : lines) {
      worker.obey(order_from(line));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  save_all(worker);
  seat.leave();
}

int serve_spool(const WorkerOptions& options, const std::function<bool()>& wants_out) {
  const Path spool = std::filesystem::absolute(options.spool) / "spool";
  while (const auto session = await_session(spool, wants_out)) {
    if (session->is_over) {
      log::info("the sweep is over");
      return exit_finished;
    }
    serve_session(spool, *session, options, wants_out);
  }
  log::info("left, with all running trials saved");
  return exit_saved;
}

}  // namespace

TrialWorkerPlan worker_plan_from(const std::vector<std::string>& words) {
  auto options = options_from(words);
  require(options.has_value(), "the words of a worker ask for help");
  return std::move(options->plan);
}

int worker_main(const std::vector<std::string>& arguments, const std::function<bool()>& wants_out) {
  const auto options = options_from(arguments);
  if (!options) {
    return exit_finished;
  }
  at::set_num_threads(1);
  if (options->spool.empty()) {
    return serve_pipes(options->plan);
  }
  return serve_spool(*options, wants_out);
}

}  // namespace muster
