/// How a bench is shown: the table that nccl-tests made usual, a line a size, or a JSON object a
/// row.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "collectives/bench/all_reduce_bench.h"

namespace muster {

std::string table_heading(std::string_view backend, int ranks);
/// The rows of one size; what was not measured is "-".
std::string table_line(const std::vector<AllReduceRow>& rows);
std::string json_line(const AllReduceRow& row, std::string_view backend);

/// Collective: the bench, on rank 0's stdout while it runs. Throws Error(bug) on every rank when an
/// element was wrong.
void print_all_reduce(const BenchRanks& ranks, const AllReducePlan& plan, std::string_view backend,
                      bool json);

}  // namespace muster
