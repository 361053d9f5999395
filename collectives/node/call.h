/// Call: what a rank says it is about to do, so that ranks that disagree learn it before memory is
/// touched.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "collectives/node/local_group.h"
#include "runtime/comm/buffer.h"

namespace muster {

struct alignas(64) Call {
  enum class Kind : std::uint8_t { barrier, all_reduce, reduce_scatter, all_gather, broadcast };
  std::uint64_t count = 0;  ///< elements of the buffer that all ranks must agree on
  WindowPlace in;           ///< where the rank's input lies, if others can reach it
  WindowPlace out;
  std::int32_t root = 0;
  Kind kind = Kind::barrier;
  DType dtype = DType::uint8;
  ReduceOp op = ReduceOp::sum;

  bool agrees_with(const Call& other) const {
    return count == other.count && kind == other.kind && dtype == other.dtype && op == other.op &&
           root == other.root;
  }
};
static_assert(sizeof(Call) == 64);

std::string_view name_of(Call::Kind kind);
/// "all_reduce (sum) of 100 float32"
std::string describe(const Call& call);
/// "all_reduce float32": for the flight record. Lives for ever.
std::string_view flight_name(const Call& call);

}  // namespace muster
