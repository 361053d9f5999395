/// Stack dumps: where the threads of a process are right now, by whatever this machine has: gdb,
/// eu-stack, or the kernel's own words.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include <sys/types.h>

namespace muster {

/// The stacks of all `processes`, asked for at the same time; who does not answer within `at_most`
/// gets the kernel's view.
std::string stack_dumps(const std::vector<pid_t>& processes,
                        std::chrono::milliseconds at_most = std::chrono::seconds(15));
/// What /proc tells of a process: state, and per thread its system call and where in the kernel it
/// waits.
std::string kernel_view(pid_t process);

}  // namespace muster
