// SPDX-License-Identifier: Apache-2.0
#include "launcher/worker/trial_log.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <system_error>

#include "runtime/base/log.h"
#include "runtime/base/thread_log.h"

namespace muster {

TrialLog::TrialLog(const Path& directory, int rank) {
  const Path file = directory / "log" / fmt::format("rank-{}.log", rank);
  posix_file_system().make_directory(file.parent_path());
  file_.reset(::open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
  if (!file_) {
    log::warning(
        fmt::format("cannot open {}: {}", file.string(), std::system_category().message(errno)));
  }
  log::set_thread_file(file_ ? file_.get() : -1);
}

TrialLog::~TrialLog() {
  log::set_thread_file(-1);
}

}  // namespace muster
