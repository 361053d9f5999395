/// CpuShares: which cores each rank of a machine may call its own, and moving this process onto
/// them and off again.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sched.h>

#include <optional>
#include <span>
#include <vector>

namespace muster {

cpu_set_t allowed_cpus();

/// Ranks with one common mask split it evenly, in order; ranks whose masks are disjoint (a launcher
/// bound them) keep them. Nothing where there is not a core for each.
std::optional<std::vector<cpu_set_t>> cpu_shares(std::span<const cpu_set_t> allowed);

/// Gives `to` to every thread of this process that has `from`, so that threads somebody else has
/// placed stay where they are.
void move_threads(const cpu_set_t& from, const cpu_set_t& to) noexcept;

}  // namespace muster
