// SPDX-License-Identifier: Apache-2.0
#include "launcher/engine/orders.h"

#include <fmt/format.h>

#include "runtime/base/text.h"

namespace muster {

void write_orders(const Path& log_directory, const Orders& orders) {
  write_file_atomically(log_directory / "orders",
                        fmt::format("{} {} {} {}\n", orders.start, orders.signal, orders.hints,
                                    orders.deadline_wall_ns));
}

std::optional<Orders> read_orders(const Path& log_directory) {
  const auto parts = words(read_file_if_there(log_directory / "orders").value_or(""));
  if (parts.size() != 4) {
    return std::nullopt;
  }
  const auto number = [&](std::size_t i) { return parse_int(parts[i]).value_or(0); };
  return Orders{parts[0], static_cast<int>(number(1)), static_cast<int>(number(2)), number(3)};
}

}  // namespace muster
