// SPDX-License-Identifier: Apache-2.0
#include "runtime/base/memory_left.h"

#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <string>

#include "runtime/base/text.h"

namespace muster {
namespace {

std::optional<std::uint64_t> number_in(const Path& path) {
  const auto number = parse_int(trim(read_file_if_there(path).value_or("")));
  return number && *number >= 0 ? std::optional<std::uint64_t>(*number) : std::nullopt;
}

/// The number on the line that begins with `name`: "MemAvailable:   22334 kB", "oom_kill 3".
std::optional<std::uint64_t> number_after(const Path& path, std::string_view name) {
  for (const auto& line : split(read_file_if_there(path).value_or(""), '\n')) {
    const auto parts = words(line);
    if (parts.size() >= 2 && parts[0] == name) {
      if (const auto number = parse_int(parts[1]); number && *number >= 0) {
        return static_cast<std::uint64_t>(*number);
      }
    }
  }
  return std::nullopt;
}

std::uint64_t difference(std::uint64_t most, std::uint64_t used) {
  return most > used ? most - used : 0;
}

/// Nothing when no group limits it: its file says "max", or is that of the whole machine.
std::optional<std::uint64_t> left_in_group() {
  const auto group = own_memory_group();
  if (!group) {
    return std::nullopt;
  }
  const bool is_one = group->is_version_one;
  const auto most = number_in(group->directory / (is_one ? "memory.limit_in_bytes" : "memory.max"));
  const auto used =
      number_in(group->directory / (is_one ? "memory.usage_in_bytes" : "memory.current"));
  constexpr auto no_limit = std::uint64_t{1} << 60;  // version 1 has no word for it
  return most && used && *most < no_limit ? std::optional(difference(*most, *used)) : std::nullopt;
}

/// What a limit of this process leaves of what `name` in its status counts.
std::optional<std::uint64_t> left_of_limit(int what, std::string_view name) {
  rlimit limit{};
  const auto used = number_after("/proc/self/status", name);
  if (::getrlimit(static_cast<__rlimit_resource>(what), &limit) != 0 ||
      limit.rlim_cur == RLIM_INFINITY || !used) {
    return std::nullopt;
  }
  return difference(limit.rlim_cur, *used * 1024);
}

}  // namespace

std::optional<MemoryLeft> memory_left() {
  const auto available = number_after("/proc/meminfo", "MemAvailable:");
  const std::array<std::pair<std::optional<std::uint64_t>, std::string_view>, 4> all{
      {{available ? std::optional(*available * 1024) : std::nullopt, "the machine"},
       {left_in_group(), "its container"},
       {left_of_limit(RLIMIT_AS, "VmSize:"), "its limits (ulimit)"},
       {left_of_limit(RLIMIT_DATA, "VmData:"), "its limits (ulimit)"}}};
  std::optional<MemoryLeft> least;
  for (const auto& [bytes, where] : all) {
    if (bytes && (!least || *bytes < least->bytes)) {
      least = MemoryLeft{.bytes = *bytes, .where = where};
    }
  }
  return least;
}

std::optional<MemoryGroup> own_memory_group() {
  constexpr std::string_view mount = "/sys/fs/cgroup";
  std::optional<MemoryGroup> unified;
  for (const auto& line : split(read_file_if_there("/proc/self/cgroup").value_or(""), '\n')) {
    const auto parts = split(line, ':');  // "4:memory:/user.slice" or "0::/user.slice"
    if (parts.size() < 3) {
      continue;
    }
    const bool is_one = parts[1] == "memory";
    if (!is_one && !parts[1].empty()) {
      continue;
    }
    const Path root = is_one ? Path(mount) / "memory" : Path(mount);
    Path own = Path(root.string() + parts[2]);
    if (!posix_file_system().exists(own)) {
      own = root;  // a container sees its own group there
    }
    if (is_one) {
      return MemoryGroup{.directory = own, .is_version_one = true};
    }
    if (posix_file_system().exists(own / "memory.current")) {
      unified = MemoryGroup{.directory = own, .is_version_one = false};
    }
  }
  return unified;
}

std::uint64_t out_of_memory_kills() {
  return number_after("/proc/vmstat", "oom_kill").value_or(0);
}

}  // namespace muster
