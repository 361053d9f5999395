// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <algorithm>
#include <array>

#include "runtime/config/load.h"

namespace muster {
namespace {

constexpr std::array<std::string_view, 3> reserved_variables{"MUSTER_TORCH", "MUSTER_METRICS",
                                                             "MUSTER_CHECKPOINT_DIR"};

}  // namespace

std::map<std::string, std::string> current_environment() {
  std::map<std::string, std::string> result;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const auto equals = text.find('=');
    if (equals != std::string_view::npos) {
      result.emplace(text.substr(0, equals), text.substr(equals + 1));
    }
  }
  return result;
}

bool is_reserved_variable(std::string_view name) {
  return std::ranges::find(reserved_variables, name) != reserved_variables.end();
}

}  // namespace muster
