// SPDX-License-Identifier: Apache-2.0
#include "collectives/shm/memory_left.h"

#include "runtime/base/file_system.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

/// "MemAvailable:   22334 kB"
std::optional<std::uint64_t> available_memory() {
  const auto text = read_file_if_there("/proc/meminfo").value_or("");
  for (const auto& line : split(text, '\n')) {
    const auto parts = words(line);
    if (parts.size() >= 2 && parts[0] == "MemAvailable:") {
      if (const auto kilobytes = parse_int(parts[1])) {
        return static_cast<std::uint64_t>(*kilobytes) * 1024;
      }
    }
  }
  return std::nullopt;
}

std::optional<std::uint64_t> number_in(const char* path) {
  const auto number = parse_int(trim(read_file_if_there(path).value_or("")));
  return number && *number >= 0 ? std::optional<std::uint64_t>(*number) : std::nullopt;
}

/// What the control group of a container leaves; its file says "max" when nothing limits it.
std::optional<std::uint64_t> left_in_cgroup() {
  const auto most = number_in("/sys/fs/cgroup/memory.max");
  const auto used = number_in("/sys/fs/cgroup/memory.current");
  if (!most || !used) {
    return std::nullopt;
  }
  return *most > *used ? *most - *used : 0;
}

}  // namespace

std::optional<MemoryLeft> memory_left() {
  const auto machine = available_memory();
  const auto container = left_in_cgroup();
  if (container && (!machine || *container < *machine)) {
    return MemoryLeft{.bytes = *container, .where = "its container"};
  }
  return machine ? std::optional(MemoryLeft{.bytes = *machine, .where = "the machine"})
                 : std::nullopt;
}

}  // namespace muster
