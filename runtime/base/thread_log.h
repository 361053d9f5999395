/// The log of one thread among many, for trials that share a process: a file that gets its lines
/// beside stderr.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace muster::log {

/// Where this thread's lines go as well, and what aside() says; -1: nowhere. The descriptor stays
/// the caller's.
void set_thread_file(int descriptor);
/// A line for this thread's file alone.
void aside(std::string_view text);

}  // namespace muster::log
