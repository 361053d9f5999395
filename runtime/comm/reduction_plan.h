/// ReductionPlan: what a training step will reduce, in order. Ranks compare it once, before the
/// first use: a reduction of different things does not fail by itself, it gives wrong numbers.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/comm/communicator.h"

namespace muster {

struct ReductionPlan {
  struct Entry {
    std::string name;  ///< "layer1.weight"; for the message, and compared too
    std::uint64_t count = 0;
    DType dtype = DType::float32;
    ReduceOp op = ReduceOp::sum;
  };
  std::vector<Entry> entries;

  /// Changes with any name, count, type or operation, and with their order.
  std::uint64_t hash() const;
};

/// Collective. One small exchange when all agree. Else throws Error(bad_input), on every rank in
/// the same words, naming the first rank that differs from rank 0 and the first difference.
void compare_plans(Communicator& comm, const ReductionPlan& plan);

}  // namespace muster
