/// The table of reduction loops for this machine: one function for each pair of types and
/// operation. Internal to collectives/reduce.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "runtime/comm/buffer.h"

namespace muster::kernels {

struct Job {
  std::span<const void* const> sources;
  std::span<void* const> destinations;
  std::size_t count;
  int divisor;  ///< 1: none
};
using Kernel = void (*)(const Job&);
using Table = std::array<std::array<std::array<Kernel, 4>, 7>, 7>;  ///< [in][out][operation]

/// Made for the widest vectors that this machine has.
const Table& best();

}  // namespace muster::kernels
