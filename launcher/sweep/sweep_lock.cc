// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/sweep_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

std::string me() {
  char host[256] = {};
  ::gethostname(host, sizeof host - 1);
  return "process " + std::to_string(::getpid()) + " on " + host + "\n";
}

/// The owner named in the file was a process of this machine and is gone. Its trials' keeper holds
/// the lock until they have ended.
bool is_dead(const std::string& owner) {
  const std::vector<std::string> parts = words(owner);
  const std::optional<std::int64_t> pid = parts.size() == 4 ? parse_int(parts[1]) : std::nullopt;
  return pid && trim(me()).ends_with(" on " + parts[3]) &&
         ::kill(static_cast<pid_t>(*pid), 0) != 0 && errno == ESRCH;
}

bool try_lock(int file, const Path& path) {
  if (::flock(file, LOCK_EX | LOCK_NB) == 0) {
    return true;
  }
  if (errno != EWOULDBLOCK) {
    throw_errno("lock " + path.string(), errno);
  }
  return false;
}

}  // namespace

SweepLock::SweepLock(const Path& directory) {
  posix_file_system().make_directory(directory);
  const Path path = directory / "lock";
  file_.reset(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  if (!file_) {
    throw_errno("open " + path.string(), errno);
  }
  bool is_ours = try_lock(file_.get(), path);
  std::string owner(trim(read_file_if_there(path).value_or("")));
  for (int tries = 0; !is_ours && tries < 600 && is_dead(owner); ++tries) {
    if (tries == 0) {
      log::info(directory.string() + ": " + owner + " is gone; its trials are still ending");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    is_ours = try_lock(file_.get(), path);
    owner = trim(read_file_if_there(path).value_or(""));
  }
  if (!is_ours) {
    throw Error(Fault::bad_input, directory.string() + " is in use by " +
                                      (owner.empty() ? "another process" : owner) +
                                      "; stop it first, or give this sweep another directory");
  }
  const std::string text = me();
  if (::ftruncate(file_.get(), 0) != 0 ||
      ::write(file_.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    throw_errno("write " + path.string(), errno);
  }
}

}  // namespace muster
