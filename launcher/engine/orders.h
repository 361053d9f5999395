/// Orders: what a supervisor tells the attendants of its ranks through a file in the run's log
/// directory, since launchers eat signals and outlive their death: leave by when, save now, or you
/// belong to a start that is over. Written whole by the supervisor alone, read a few times a
/// second.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "runtime/base/file_system.h"

namespace muster {

struct Orders {
  std::string start;                  ///< of the ranks; an attendant of any other one ends its rank
  int signal = 0;                     ///< to pass on, once
  int hints = 0;                      ///< how often a checkpoint was asked for
  std::int64_t deadline_wall_ns = 0;  ///< when the ranks will be ended; 0: not known
};

void write_orders(const Path& log_directory, const Orders& orders);
/// Nothing when there is none, or none that can be read yet.
std::optional<Orders> read_orders(const Path& log_directory);

}  // namespace muster
