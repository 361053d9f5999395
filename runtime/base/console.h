/// Console: what people see of a program: whole lines on stdout and stderr, and on a terminal one
/// live line below them, which each next one replaces. Thread-safe; a line is one write(2).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>

#include "runtime/base/clock.h"

namespace muster {

namespace console {
/// Does stderr go to a person?
bool is_terminal();
/// `text` has no newline. A live line makes way for it. A closed console is no error.
void line(int descriptor, std::string_view text);
/// Draws the live line, cut to the width of the terminal. Only where is_terminal().
void live(std::string_view text);
}  // namespace console

/// Which live lines are kept where nothing is drawn again, in files and pipes: one in half a
/// minute.
class KeptLives {
 public:
  bool keeps(Monotonic now);

 private:
  std::optional<Monotonic> last_;
};

}  // namespace muster
