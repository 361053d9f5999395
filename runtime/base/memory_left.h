/// memory_left: how much memory processes here may still take before the kernel refuses or its
/// killer wakes: the machine's own, what the control group of a container leaves, what the limits
/// of this process leave, whichever is least.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "runtime/base/file_system.h"

namespace muster {

struct MemoryLeft {
  std::uint64_t bytes = 0;
  std::string_view where;  ///< "the machine", "its container" or "its limits (ulimit)"
};
/// Nothing where the system does not say.
std::optional<MemoryLeft> memory_left();

/// The control group that this process's memory is counted in.
struct MemoryGroup {
  Path directory;
  bool is_version_one = false;  ///< the files are called memory.limit_in_bytes, not memory.max
};
std::optional<MemoryGroup> own_memory_group();

/// How often the kernel has killed for want of memory, on this machine, since it started.
std::uint64_t out_of_memory_kills();

}  // namespace muster
