/// AllReducePlan: what a bench measures, and the words by which `muster` passes it to the program
/// whose ranks measure it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/comm/buffer.h"

namespace muster {

/// Out of place is a copy into the buffer first, which belongs to the time.
enum class Placement : std::uint8_t { out_of_place, in_place };

struct AllReducePlan {
  std::vector<std::size_t> sizes;  ///< bytes
  DType dtype = DType::float32;
  std::vector<Placement> placements{Placement::out_of_place, Placement::in_place};
  double seconds_each = 0.3;  ///< how long to measure a size and placement, about
};

// What a user writes. All throw bad_input.
std::vector<std::size_t> sizes_named(std::string_view text);     ///< "64,4K,1M..512M": doubling
DType dtype_named(std::string_view text);                        ///< "bfloat16"
std::vector<Placement> placements_named(std::string_view text);  ///< "in", "out" or "both"

std::vector<std::string> words_of(const AllReducePlan& plan);
AllReducePlan plan_of(std::span<const std::string> words);

/// Throws bad_input where `local_ranks` ranks of this machine have no room for the largest size.
void check_room(const AllReducePlan& plan, int local_ranks);

}  // namespace muster
