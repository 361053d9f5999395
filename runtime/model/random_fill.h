/// Fills of plain memory from Philox: starts of parameters, masks of dropout. Element i depends on
/// (key, i) alone. Four 32-bit words a block: uniforms of 24 bits, normals by Box-Muller in pairs.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "runtime/base/random.h"
#include "runtime/model/builder.h"

namespace muster {

std::uint64_t random_key(std::uint64_t seed, std::string_view name);
void fill(float* values, std::size_t count, Start start, std::uint64_t key);
/// 0 with probability `share`, else 1 / (1 - share).
void fill_dropout_mask(float* mask, std::size_t count, double share, std::uint64_t key);

}  // namespace muster
