// SPDX-License-Identifier: Apache-2.0
#include "launcher/supervise/run_directory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "runtime/base/error.h"

namespace muster {
namespace {

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

std::string owner_text(const Owner& owner, std::int64_t now) {
  std::string text = fmt::format("pid {} on {}", owner.pid, owner.host);
  if (!owner.slurm_job.empty()) {
    text += fmt::format(" (Slurm job {})", owner.slurm_job);
  }
  return text + fmt::format(", since {}, heartbeat {} s ago", owner.since,
                            std::max<std::int64_t>(now - owner.beat, 0));
}

}  // namespace

std::string this_host() {
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  return name.data();
}

void check_run_name(std::string_view name) {
  const auto fine = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.';
  };
  if (name.empty() || name.front() == '.' || name.size() > 120 ||
      !std::ranges::all_of(name, fine)) {
    throw Error(Fault::bad_input, fmt::format("name = '{}' cannot name a directory: use up to 120 "
                                              "letters, digits, '-', '_' and '.', and no '.' first",
                                              name));
  }
}

std::optional<Owner> owner_of(const Path& lock_file) {
  const auto text = read_file_if_there(lock_file);
  const auto json = nlohmann::json::parse(text.value_or(""), nullptr, false);
  if (!json.is_object()) {
    return std::nullopt;
  }
  return Owner{json.value("host", ""), json.value("pid", std::int64_t{0}),
               json.value("slurm_job", ""), json.value("since", ""),
               json.value("beat", std::int64_t{0})};
}

RunLock::RunLock(Path file, WallTime now, const std::function<void(const std::string&)>& say)
    : path_(std::move(file)) {
  const char* job = std::getenv("SLURM_JOB_ID");
  me_ = {this_host(), ::getpid(), job == nullptr ? "" : job, iso_time(now), 0};
  bool held_here = false;
  do {
    file_ = Descriptor(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
    if (!file_) {
      throw_errno(fmt::format("create {} (is the directory writable?)", path_.string()), errno);
    }
    held_here = ::flock(file_.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  } while (!held_here && !is_named(file_.get(), path_));
  const auto before = owner_of(path_);
  const auto seconds = seconds_of(now);
  const bool beats_elsewhere =
      before && before->host != me_.host && seconds - before->beat < stale_after.count();
  if (held_here || beats_elsewhere) {
    const auto owner =
        before ? owner_text(*before, seconds) : std::string("another process of this machine");
    file_.reset();
    throw Error(Fault::bad_input, fmt::format("{} is in use by {}: wait for it, stop it (muster "
                                              "stop {}), or give this one another --name",
                                              path_.parent_path().string(), owner,
                                              path_.parent_path().filename().string()));
  }
  if (before) {
    say(fmt::format("taking {} over from {}, which is gone", path_.parent_path().string(),
                    owner_text(*before, seconds)));
  }
  beat(now);
}

void RunLock::beat(WallTime now) {
  me_.beat = seconds_of(now);
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

void RunLock::release() noexcept {
  if (file_) {
    ::unlink(path_.c_str());
    file_.reset();
  }
}

}  // namespace muster
