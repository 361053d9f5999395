// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/trial_events.h"

#include <fmt/format.h>

#include "runtime/base/clock.h"
#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/track/tensorboard.h"

namespace muster {
namespace {

WallTime wall() {
  return std::chrono::system_clock::now();
}
double wall_seconds() {
  return std::chrono::duration<double>(wall().time_since_epoch()).count();
}

}  // namespace

TrialEvents::TrialEvents(const Path& trial, std::uint64_t from,
                         const std::vector<std::pair<std::string, std::string>>& parameters)
    : path_(trial / "tensorboard" / event_file_name(wall())) {
  try {
    posix_file_system().make_directory(path_.parent_path());
    file_ = posix_file_system().open(path_, OpenMode::append);
  } catch (const Error& error) {
    log::warning(report(error));
  }
  put(version_event(wall_seconds()));
  put(restart_event(wall_seconds(), from + 1));
  put(hyperparameters_event(wall_seconds(), trial.filename().string(), parameters));
}

void TrialEvents::write(std::uint64_t step,
                        const std::vector<std::pair<std::string, double>>& values) {
  put(scalars_event(wall_seconds(), step, values));
}

void TrialEvents::put(const std::string& payload) {
  if (!file_) {
    return;
  }
  try {
    file_->append(as_bytes(tensorboard_record(payload)));
  } catch (const Error& error) {
    log::warning(fmt::format("{} ends here: {}", path_.string(), error.what()));
    file_.reset();
  }
}

}  // namespace muster
