/// Measures all_reduce on a communicator, in the columns that nccl-tests made usual.
/// Every rank rewrites its whole buffer before each timed call: untouched buffers would stay in a
/// rank's own cache.
///   algbw = bytes / time          busbw = algbw * 2 (n - 1) / n
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/comm/communicator.h"
#include "runtime/comm/node_group.h"

namespace muster {

struct AllReducePlan {
  std::vector<std::size_t> sizes{64, 4096, 409600, 4194304, 47185920, 104857600};  ///< bytes
  DType dtype = DType::float32;
  double seconds_each = 0.5;  ///< how long to measure a size, about
};

/// One line. Fixed-size, so that it crosses process boundaries as bytes.
struct AllReduceRow {
  std::uint64_t size_bytes = 0;
  std::uint64_t count = 0;
  DType dtype = DType::float32;
  bool is_in_place = true;
  std::int32_t ranks = 1;
  double time_us = 0;        ///< median of the slowest rank
  std::uint64_t errors = 0;  ///< elements that are not the exact sum, over all ranks

  double algbw_gbs() const {
    return time_us > 0 ? static_cast<double>(size_bytes) / time_us / 1e3 : 0;
  }
  double busbw_gbs() const { return algbw_gbs() * 2 * (ranks - 1) / ranks; }
};

/// Collective. `node` gives the windows that buffers live in; null: plain memory. `done` gets each
/// row on rank 0.
void bench_all_reduce(Communicator& comm, NodeGroup* node, const AllReducePlan& plan,
                      const std::function<void(const AllReduceRow&)>& done);

std::string table_heading(std::string_view backend, int ranks);
std::string table_line(const AllReduceRow& row);
std::string json_line(const AllReduceRow& row, std::string_view backend);

/// Collective: the bench with a line of stdout a row, from rank 0. Throws Error(bug) on every rank
/// when an element was wrong.
void print_all_reduce(Communicator& comm, NodeGroup* node, const AllReducePlan& plan,
                      std::string_view backend, bool json);
/// "bfloat16" to its type. Throws bad_input.
DType dtype_named(std::string_view name);

}  // namespace muster
