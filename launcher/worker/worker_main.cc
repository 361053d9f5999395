// SPDX-License-Identifier: Apache-2.0
#include "launcher/worker/worker_main.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <iostream>

#include "launcher/cli/command.h"
#include "launcher/engine/resources.h"
#include "launcher/sweep/spool_service.h"
#include "launcher/sweep/trial_plans.h"
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
  keys.add("memory", plan.memory, "Bytes for its trials; 0 is what is left").only_on_command_line();
  keys.add("gpu-sharers", plan.gpu_sharers, "Workers that share its GPU").only_on_command_line();
  keys.add("needs-gpu", plan.needs_gpu, "Without a GPU it does not work").only_on_command_line();
  keys.add("commit-seconds", plan.commit_seconds, "How often a running trial is saved")
      .only_on_command_line();
  keys.add("spool", options.spool, "A sweep's directory: join it through its spool")
      .only_on_command_line();
  keys.add("name", options.name, "What a worker that joins is called").only_on_command_line();
  keys.add("slots", options.slots, "Trials at once; 0 is one a core, or as many on its GPU as pay")
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

int serve_pipes(const TrialWorkerPlan& plan) {
  std::signal(SIGPIPE, SIG_IGN);  // a coordinator that dies ends stdin, and that ends us, saved
  const Descriptor events = take_stdout();
  TrialWorker worker(
      plan, [&events](const WorkerEvent& event) { write_all(events.get(), line_of(event)); });
  for (std::string words; std::getline(std::cin, words);) {
    worker.obey(order_from(words));
  }
  save_all(worker);
  return exit_finished;
}

/// Trials of one rank as threads, or, where the sweep has them as processes, as such.
SpoolCrew crew_of(const SpoolService& service, const SpoolSession& session) {
  if (is_for_programs(session)) {
    const auto self = std::filesystem::read_symlink("/proc/self/exe");
    return program_crew(service, session, (self.parent_path() / "muster").string());
  }
  TrialWorkerPlan plan = worker_plan_from(session.words);
  plan.sweep = service.sweep;  // as it is called on this machine
  const auto settings = settings_of(service.sweep);
  see_cards_of_worker(settings);
  return {.slots = trials_at_once(settings, this_machine()), .make = [plan](SweepWorker::Say say) {
            return std::make_unique<TrialWorker>(plan, std::move(say));
          }};
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
  SpoolService service;
  service.sweep = std::filesystem::absolute(options->spool);
  service.name = options->name;
  service.slots = options->slots;
  service.wants_out = wants_out;
  service.crew = [&](const SpoolSession& session) { return crew_of(service, session); };
  return serve_spool(service);
}

}  // namespace muster
