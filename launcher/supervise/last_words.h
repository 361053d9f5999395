/// LastWords: of what a process wrote to its error stream before it ended, the line that says why.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <string>
#include <string_view>

#include "launcher/engine/process.h"

namespace muster {

class LastWords {
 public:
  void hear(std::string_view line);
  /// A line of it, trimmed, or empty where none explains `how`: its last complaint, or else the
  /// last line of all. Whoever is killed by somebody else has not known it.
  std::string why(const Ended& how) const;
  bool any_has(std::string_view word) const;
  /// Frames were among it.
  bool has_back_trace() const noexcept { return has_back_trace_; }

 private:
  std::deque<std::string> lines_;  ///< the last, without frames and blank ones
  bool has_back_trace_ = false;
};

}  // namespace muster
