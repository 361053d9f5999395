// SPDX-License-Identifier: Apache-2.0
#include "collectives/node/call.h"

#include <fmt/format.h>

#include <array>

namespace muster {
namespace {

constexpr std::size_t kinds = 5;
constexpr std::size_t dtypes = 7;
using Names = std::array<std::array<std::string, dtypes>, kinds>;

Names flight_names() {
  Names names;
  for (std::size_t kind = 0; kind < kinds; ++kind) {
    for (std::size_t dtype = 0; dtype < dtypes; ++dtype) {
      const auto name = name_of(static_cast<Call::Kind>(kind));
      names[kind][dtype] = kind == 0
                               ? std::string(name)
                               : fmt::format("{} {}", name, name_of(static_cast<DType>(dtype)));
    }
  }
  return names;
}

}  // namespace

std::string_view name_of(Call::Kind kind) {
  constexpr std::array<std::string_view, kinds> names{"barrier", "all_reduce", "reduce_scatter",
                                                      "all_gather", "broadcast"};
  return names.at(static_cast<std::size_t>(kind));
}

std::string describe(const Call& call) {
  using enum Call::Kind;
  switch (call.kind) {
    case barrier:
      return "a barrier";
    case all_reduce:
    case reduce_scatter:
      return fmt::format("{} ({}) of {} {}", name_of(call.kind), name_of(call.op), call.count,
                         name_of(call.dtype));
    case all_gather:
      return fmt::format("all_gather of {} {}", call.count, name_of(call.dtype));
    case broadcast:
      return fmt::format("broadcast from rank {} of {} {}", call.root, call.count,
                         name_of(call.dtype));
  }
  return "?";
}

std::string_view flight_name(const Call& call) {
  static const Names names = flight_names();
  return names[static_cast<std::size_t>(call.kind)][static_cast<std::size_t>(call.dtype)];
}

}  // namespace muster
