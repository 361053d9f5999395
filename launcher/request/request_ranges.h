/// The ranges of a tuning request, as a search space.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>

#include "launcher/request/request_parts.h"
#include "launcher/request/request_reader.h"

namespace muster {

/// What the ranges amount to: their settings, and how many configurations there are (infinite:
/// many).
struct Ranges {
  RequestSettings settings;
  double combinations = 1;
  std::size_t count = 0;
  bool all_categorical = true;
};

/// A word of the search grammar, quoted where it must be.
std::string quoted(const std::string& word);
/// What the object in `field` lists: integer, continuous and categorical ranges.
Ranges read_ranges(RequestReader& parent, const std::string& field);

}  // namespace muster
