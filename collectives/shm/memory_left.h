/// memory_left: how much memory ranks of this machine may still take before the kernel's killer
/// wakes: the machine's own, or what the control group of a container leaves, whichever is less.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace muster {

struct MemoryLeft {
  std::uint64_t bytes = 0;
  std::string_view where;  ///< "the machine" or "its container"
};
/// Nothing where the system does not say.
std::optional<MemoryLeft> memory_left();

}  // namespace muster
