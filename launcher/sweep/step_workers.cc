// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/step_workers.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>

#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/log.h"

namespace muster {
namespace {

constexpr int most_starts = 10;
constexpr std::chrono::seconds pause_between_starts{
    15};  // a job that is being preempted is over by then

}  // namespace

void StepWorkers::start() {
  ProcessSpec spec;
  spec.command = {"srun",
                  fmt::format("--ntasks={}", plan_.tasks),
                  "--exact",
                  "--overlap",
                  "--kill-on-bad-exit=0",
                  "--label"};
  spec.command.insert(spec.command.end(), plan_.srun.begin(), plan_.srun.end());
  spec.command.insert(spec.command.end(), plan_.command.begin(), plan_.command.end());
  spec.environment = plan_.environment;
  const Descriptor log(::open(plan_.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
  if (!log) {
    throw_errno("open " + plan_.log.string(), errno);
  }
  spec.output = spec.error = log.get();
  process_ = std::make_unique<Process>(Process::start(spec));
  next_start_ = clock_.now() + pause_between_starts;
  ++starts_;
}

std::vector<std::unique_ptr<WorkerLink>> StepWorkers::joined() {
  const auto ended = process_ ? process_->poll() : std::nullopt;
  const bool is_misuse = ended && ended->code() == exit_usage;
  if (is_misuse || (ended && starts_ >= most_starts)) {
    throw Error(is_misuse ? Fault::bad_input : Fault::io,
                fmt::format("the workers that srun starts end again and again; the last "
                            "time it {}: see {}",
                            ended->text(), plan_.log.string()));
  }
  if ((!process_ || ended) && clock_.now() >= next_start_) {
    if (ended) {
      log::warning(fmt::format("srun {}; its workers are started again", ended->text()));
    }
    start();
  }
  return {};
}

}  // namespace muster
