// SPDX-License-Identifier: Apache-2.0
#include "launcher/worker/worker_main.h"

#include <ATen/Parallel.h>
#include <unistd.h>

#include <cerrno>
#include <iostream>

#include "launcher/cli/command.h"
#include "launcher/worker/trial_worker.h"
#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/handle.h"

namespace muster {
namespace {

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

}  // namespace

int worker_main(const std::vector<std::string>& arguments) {
  TrialWorkerPlan plan;
  std::string sweep;
  Keys keys;
  keys.add("job", plan.job, "The job that trials are made of").only_on_command_line();
  keys.add("sweep", sweep, "The sweep's directory").only_on_command_line();
  keys.add("objective", plan.objective, "The metric to report").only_on_command_line();
  keys.add("max-resource", plan.max_resource, "Epochs of a whole trial").only_on_command_line();
  keys.add("commit-seconds", plan.commit_seconds, "How often a running trial is saved")
      .only_on_command_line();
  const auto line = take_command_line(
      keys, arguments,
      {.usage = "muster-rank --worker --job FILE --sweep DIR --objective METRIC", .about = ""});
  if (!line) {
    return exit_finished;
  }
  load(keys, {{}, {}, line->options});
  plan.sweep = sweep;
  plan.overrides = line->rest;
  const Descriptor events = take_stdout();
  at::set_num_threads(1);
  TrialWorker worker(std::move(plan), [&events](const WorkerEvent& event) {
    write_all(events.get(), line_of(event));
  });
  write_all(events.get(), line_of(WorkerEvent{}));
  for (std::string words; std::getline(std::cin, words);) {
    worker.obey(order_from(words));
  }
  WorkerOrder end;
  end.kind = WorkerOrder::Kind::suspend;
  worker.obey(end);
  return exit_finished;
}

}  // namespace muster
