/// Measures all_reduce on a communicator. Every rank rewrites its whole buffer before each timed
/// call: untouched buffers would stay in a rank's own cache.
///   algbw = bytes / time          busbw = algbw * 2 (n - 1) / n
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "collectives/bench/all_reduce_plan.h"
#include "collectives/bench/bench_memory.h"
#include "runtime/comm/communicator.h"

namespace muster {

struct AllReduceRow {
  std::uint64_t size_bytes = 0;
  std::uint64_t count = 0;
  DType dtype = DType::float32;
  Placement placement = Placement::in_place;
  int ranks = 1;
  double time_us = 0;        ///< median of the slowest rank
  std::uint64_t errors = 0;  ///< elements that are not the exact sum, over all ranks

  double algbw_gbs() const {
    return time_us > 0 ? static_cast<double>(size_bytes) / time_us / 1e3 : 0;
  }
  double busbw_gbs() const { return algbw_gbs() * 2 * (ranks - 1) / ranks; }
};

struct BenchRanks {
  Communicator& measured;
  Communicator& control;  ///< the same ranks on host memory: agrees on times and rounds
  BenchMemorySource memory;
};

/// Collective. `done` gets the rows of a size, in the order of the placements, on every rank.
void bench_all_reduce(const BenchRanks& ranks, const AllReducePlan& plan,
                      const std::function<void(const std::vector<AllReduceRow>&)>& done);

}  // namespace muster
