/// Back-traces of crash records (runtime/comm/crash_record.h), made readable: names as they stand
/// in the source, and file and line where this machine has addr2line.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace muster {

/// "/path/program(name+0x1f) [0x55d0]"
bool is_frame(std::string_view line);
/// `text` with each frame in it rewritten; lines that are no frames stay as they are. Never throws.
std::string readable_back_trace(const std::string& text);

}  // namespace muster
