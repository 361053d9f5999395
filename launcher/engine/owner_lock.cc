// SPDX-License-Identifier: Apache-2.0
#include "launcher/engine/owner_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <mutex>
#include <nlohmann/json.hpp>

#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/base/thread_name.h"

namespace muster {
namespace {

using namespace std::chrono_literals;

constexpr const char* lock_name = "lock";
constexpr auto between_tries = 100ms;
constexpr int tries_for_a_dead_owner = 600;
constexpr int tries_for_an_unknown_one = 10;  // it has not written its name yet, or only looks

std::int64_t seconds_of(WallTime now) {
  return std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count();
}

/// False when the file was removed by its owner between our open and our flock.
bool is_named(int descriptor, const Path& path) {
  struct stat ours {};
  struct stat named {};
  return ::fstat(descriptor, &ours) == 0 && ::stat(path.c_str(), &named) == 0 &&
         ours.st_ino == named.st_ino;
}

std::string owner_text(const Owner& owner, WallTime now) {
  std::string text = fmt::format("pid {} on {}", owner.pid, owner.host);
  if (!owner.slurm_job.empty()) {
    text += fmt::format(" (Slurm job {})", owner.slurm_job);
  }
  return text + fmt::format(", since {}, heartbeat {} s ago", owner.since,
                            std::max<std::int64_t>(seconds_of(now) - owner.beat, 0));
}

bool beats_elsewhere(const Owner& owner, WallTime now) {
  return owner.host != this_host() && seconds_of(now) - owner.beat < OwnerLock::stale_after.count();
}

bool is_dead_here(const Owner& owner) {
  return owner.host == this_host() && ::kill(static_cast<pid_t>(owner.pid), 0) != 0 &&
         errno == ESRCH;
}

/// A thread that no signal is delivered to: signals belong to who waits for them.
template <typename Function>
std::jthread deaf_thread(Function function) {
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  std::jthread thread(std::move(function));
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread;
}

}  // namespace

std::string this_host() {
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  return name.data();
}

std::optional<Owner> owner_of(const Path& directory) {
  const auto text = read_file_if_there(directory / lock_name);
  const auto json = nlohmann::json::parse(text.value_or(""), nullptr, false);
  if (!json.is_object()) {
    return std::nullopt;
  }
  return Owner{json.value("host", ""), json.value("pid", std::int64_t{0}),
               json.value("slurm_job", ""), json.value("since", ""),
               json.value("beat", std::int64_t{0})};
}

bool is_owned(const Path& directory, WallTime now) {
  const Descriptor file(::open((directory / lock_name).c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) {
    return false;
  }
  if (::flock(file.get(), LOCK_SH | LOCK_NB) != 0) {
    return true;
  }
  const auto owner = owner_of(directory);
  return owner && beats_elsewhere(*owner, now);
}

OwnerLock::OwnerLock(const Path& directory, const Clock& clock,
                     const std::function<void(const std::string&)>& say,
                     std::chrono::milliseconds between_beats)
    : path_(directory / lock_name), clock_(clock) {
  const char* job = std::getenv("SLURM_JOB_ID");
  me_ = {this_host(), ::getpid(), job == nullptr ? "" : job, iso_time(clock_.wall()), 0};
  posix_file_system().make_directory(directory);
  take(directory, say);
  beat();
  beats_ = deaf_thread([this, between_beats](const std::stop_token& stop) {
    name_thread("ownership");
    keep_beating(stop, between_beats);
  });
}

/// Opens the file and locks it; false where another process holds it.
bool OwnerLock::try_take() {
  do {
    file_ = Descriptor(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
    if (!file_) {
      throw_errno(fmt::format("create {} (is the directory writable?)", path_.string()), errno);
    }
    if (::flock(file_.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) {
        throw_errno("lock " + path_.string(), errno);
      }
      file_.reset();
      return false;
    }
  } while (!is_named(file_.get(), path_));
  return true;
}

void OwnerLock::take(const Path& directory, const std::function<void(const std::string&)>& say) {
  const std::string what = directory.string();
  bool is_ours = try_take();
  auto before = owner_of(directory);
  for (int tries = 0; !is_ours; ++tries) {
    const bool is_dead = before && is_dead_here(*before);
    if (tries >= (is_dead ? tries_for_a_dead_owner : before ? 0 : tries_for_an_unknown_one)) {
      break;
    }
    if (is_dead && tries == 0) {
      say(fmt::format("{}: pid {} is gone; what it started is still ending", what, before->pid));
    }
    std::this_thread::sleep_for(between_tries);
    is_ours = try_take();
    before = owner_of(directory);
  }
  const auto now = clock_.wall();
  if (!is_ours || (before && beats_elsewhere(*before, now))) {
    file_.reset();
    throw Error(
        Fault::bad_input,
        fmt::format("{} is in use by {}: wait for it, stop it (muster stop {}), or give this one "
                    "another name",
                    what, before ? owner_text(*before, now) : "another process of this machine",
                    directory.filename().string()));
  }
  if (before) {
    say(fmt::format("taking {} over from {}, which is gone", what, owner_text(*before, now)));
  }
}

void OwnerLock::beat() {
  me_.beat = seconds_of(clock_.wall());
  const nlohmann::json json{{"host", me_.host},
                            {"pid", me_.pid},
                            {"slurm_job", me_.slurm_job},
                            {"since", me_.since},
                            {"beat", me_.beat}};
  const std::string text = json.dump() + "\n";
  // In place: the lock belongs to this inode. A reader may see a torn line and then takes the owner
  // for unknown, never for gone.
  if (::pwrite(file_.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()) ||
      ::ftruncate(file_.get(), static_cast<off_t>(text.size())) != 0) {
    throw_errno("write " + path_.string(), errno);
  }
}

void OwnerLock::keep_beating(const std::stop_token& stop, std::chrono::milliseconds pause) {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  bool is_said = false;
  while (!wake.wait_for(lock, stop, pause, [] { return false; }) && !stop.stop_requested()) {
    try {
      beat();
    } catch (const Error& error) {
      if (!std::exchange(is_said, true)) {
        log::warning(std::string("other machines may take this for dead: ") + error.what());
      }
    }
  }
}

void OwnerLock::release() noexcept {
  if (file_) {
    beats_ = {};
    ::unlink(path_.c_str());
    file_.reset();
  }
}

}  // namespace muster
