// SPDX-License-Identifier: Apache-2.0
#include "collectives/reduce/reduce.h"

#include "collectives/reduce/kernels.h"
#include "runtime/base/error.h"

namespace muster {

void reduce(DType in, DType out, ReduceOp op, std::span<const void* const> sources,
            std::span<void* const> destinations, std::size_t count, int divisor) {
  require(!sources.empty(), "a reduction needs a source");
  const auto kernel = kernels::best()[static_cast<std::size_t>(in)][static_cast<std::size_t>(out)]
                                     [static_cast<std::size_t>(op)];
  require(kernel != nullptr, "a reduction keeps its type or goes to or from its accumulator's");
  kernel({.sources = sources,
          .destinations = destinations,
          .count = count,
          .divisor = op == ReduceOp::mean ? divisor : 1});
}

}  // namespace muster
