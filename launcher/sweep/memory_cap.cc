// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/memory_cap.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "runtime/base/handle.h"
#include "runtime/base/memory_left.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

/// Files of control groups are written as they are: no rename beside them.
bool write_word(const Path& file, const std::string& word) {
  const Descriptor open(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
  return open && ::write(open.get(), word.data(), word.size()) == static_cast<ssize_t>(word.size());
}

}  // namespace

MemoryCap::MemoryCap(const std::string& name, std::uint64_t bytes, bool with_group)
    : bytes_(bytes) {
  const auto own = with_group ? own_memory_group() : std::nullopt;
  if (!own) {
    return;
  }
  const Path group = own->directory / ("muster-" + name + "-" + std::to_string(::getpid()));
  if (::mkdir(group.c_str(), 0755) != 0) {
    return;
  }
  is_version_one_ = own->is_version_one;
  const char* limit = is_version_one_ ? "memory.limit_in_bytes" : "memory.max";
  if (!write_word(group / limit, std::to_string(bytes))) {
    ::rmdir(group.c_str());  // this group may not limit memory
    return;
  }
  write_word(group / (is_version_one_ ? "memory.memsw.limit_in_bytes" : "memory.swap.max"),
             is_version_one_ ? std::to_string(bytes) : "0");
  group_ = group;
}

MemoryCap::~MemoryCap() {
  if (has_group()) {
    ::rmdir(group_.c_str());
  }
}

void MemoryCap::hold(pid_t process) const {
  if (has_group() && write_word(group_ / "cgroup.procs", std::to_string(process))) {
    return;
  }
  // Programs map more than they touch: twice the cap lets them, and stops what runs wild.
  const rlimit limit{2 * bytes_, 2 * bytes_};
  ::prlimit(process, RLIMIT_DATA, &limit, nullptr);
}

bool MemoryCap::is_breached() const {
  if (!has_group()) {
    return false;
  }
  const Path file = group_ / (is_version_one_ ? "memory.oom_control" : "memory.events");
  for (const auto& line : split(read_file_if_there(file).value_or(""), '\n')) {
    const auto parts = words(line);
    if (parts.size() == 2 && parts[0] == "oom_kill") {
      return parts[1] != "0";
    }
  }
  return false;
}

std::uint64_t resident_below(pid_t process) {
  std::uint64_t pages = 0;
  std::uint64_t size = 0;
  std::ifstream(fmt::format("/proc/{}/statm", process)) >> size >> pages;
  std::uint64_t bytes = pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  std::ifstream children(fmt::format("/proc/{0}/task/{0}/children", process));
  for (pid_t child = 0; children >> child;) {
    bytes += resident_below(child);
  }
  return bytes;
}

}  // namespace muster
