// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "runtime/base/text.h"
#include "runtime/config/load.h"

namespace muster {
namespace {

/// The 12 of "job.ini:12: ..."; places without a line come last.
std::int64_t line_of(const std::string& violation) {
  const auto colon = violation.find(':');
  const auto end = violation.find(':', colon + 1);
  if (colon == std::string::npos || end == std::string::npos) {
    return std::numeric_limits<std::int64_t>::max();
  }
  return parse_int(violation.substr(colon + 1, end - colon - 1))
      .value_or(std::numeric_limits<std::int64_t>::max());
}

}  // namespace

void throw_violations(const std::vector<std::string>& violations, Where where) {
  if (violations.size() == 1) {
    throw Error(Fault::bad_input, violations.front(), where);
  }
  auto in_order = violations;
  std::ranges::stable_sort(in_order, {}, line_of);
  throw Error(Fault::bad_input,
              fmt::format("{} things in the configuration cannot be used:\n  {}", in_order.size(),
                          fmt::join(in_order, "\n  ")),
              where);
}

}  // namespace muster
