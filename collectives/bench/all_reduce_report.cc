// SPDX-License-Identifier: Apache-2.0
#include "collectives/bench/all_reduce_report.h"

#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "runtime/base/error.h"

namespace muster {
namespace {

std::string columns_of(const std::vector<AllReduceRow>& rows, Placement placement) {
  for (const auto& row : rows) {
    if (row.placement == placement) {
      return fmt::format(" {:>10.2f} {:>7.2f} {:>7.2f} {:>6}", row.time_us, row.algbw_gbs(),
                         row.busbw_gbs(), row.errors);
    }
  }
  return fmt::format(" {:>10} {:>7} {:>7} {:>6}", "-", "-", "-", "-");
}

/// Errors, and the mean of the bus bandwidth, which nccl-tests ends with.
struct Total {
  std::uint64_t errors = 0;
  double busbw_gbs = 0;
  int rows = 0;
  void add(const AllReduceRow& row) {
    errors += row.errors;
    busbw_gbs += row.busbw_gbs();
    ++rows;
  }
};

}  // namespace

std::string table_heading(std::string_view backend, int ranks) {
  constexpr auto columns = " {:>10} {:>7} {:>7} {:>6}";
  const auto twice = [&](auto... words) {
    const auto once = fmt::format(fmt::runtime(columns), words...);
    return once + once;
  };
  return fmt::format(
      "# all_reduce, sum: {}, {} ranks. Every buffer is rewritten before each call; times are\n"
      "# medians of the slowest rank.\n"
      "# {:>10} {:>12} {:>9} {:^34}{:^34}\n"
      "# {:>10} {:>12} {:>9}{}\n"
      "# {:>10} {:>12} {:>9}{}",
      backend, ranks, "", "", "", "out of place", "in place", "size", "count", "type",
      twice("time", "algbw", "busbw", "errors"), "(B)", "(elements)", "",
      twice("(us)", "(GB/s)", "(GB/s)", ""));
}

std::string table_line(const std::vector<AllReduceRow>& rows) {
  require(!rows.empty(), "a line of the table needs a row");
  return fmt::format("  {:>10} {:>12} {:>9}{}{}", rows[0].size_bytes, rows[0].count,
                     name_of(rows[0].dtype), columns_of(rows, Placement::out_of_place),
                     columns_of(rows, Placement::in_place));
}

std::string json_line(const AllReduceRow& row, std::string_view backend) {
  nlohmann::ordered_json line;
  line["size_bytes"] = row.size_bytes;
  line["count"] = row.count;
  line["dtype"] = name_of(row.dtype);
  line["backend"] = backend;
  line["ranks"] = row.ranks;
  line["in_place"] = row.placement == Placement::in_place;
  line["time_us"] = row.time_us;
  line["algbw_gbs"] = row.algbw_gbs();
  line["busbw_gbs"] = row.busbw_gbs();
  line["errors"] = row.errors;
  return line.dump();
}

void print_all_reduce(const BenchRanks& ranks, const AllReducePlan& plan, std::string_view backend,
                      bool json) {
  const bool speaks = ranks.control.rank() == 0;
  const auto print = [speaks](const std::string& line) {
    if (speaks) {
      fmt::print("{}\n", line);
      std::fflush(stdout);
    }
  };
  if (!json) {
    print(table_heading(backend, ranks.control.size()));
  }
  Total total;
  bench_all_reduce(ranks, plan, [&](const std::vector<AllReduceRow>& rows) {
    for (const auto& row : rows) {
      total.add(row);
      if (json) {
        print(json_line(row, backend));
      }
    }
    if (!json) {
      print(table_line(rows));
    }
  });
  if (!json) {
    print(fmt::format("# errors: {}; mean busbw: {:.2f} GB/s", total.errors,
                      total.busbw_gbs / std::max(1, total.rows)));
  }
  if (total.errors > 0) {
    throw Error(Fault::bug, fmt::format("{} elements were not the exact sum", total.errors));
  }
}

}  // namespace muster
