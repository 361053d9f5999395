// SPDX-License-Identifier: Apache-2.0
#include "collectives/bench/all_reduce_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

#include "collectives/reduce/reduce.h"
#include "runtime/base/error.h"

namespace muster {
namespace {

using SteadyClock = std::chrono::steady_clock;
constexpr std::size_t small_bytes = 16384;  // below: many calls are timed together
constexpr int calls_together = 100;

double us_since(SteadyClock::time_point start) {
  return std::chrono::duration<double, std::micro>(SteadyClock::now() - start).count();
}

/// Host memory from the node's windows, or this rank's own.
class Memory {
 public:
  Memory(NodeGroup* node, std::size_t bytes, int ranks) {
    if (node == nullptr) {
      own_.resize(bytes + 64);
      data_ = own_.data();
      return;
    }
    const std::size_t padded = (bytes + 4095) / 4096 * 4096;
    window_ = node->share(padded * static_cast<std::size_t>(ranks));
    data_ = window_->bytes().data() + padded * static_cast<std::size_t>(node->rank());
  }
  std::byte* data() const { return data_; }

 private:
  std::vector<std::byte> own_;
  std::unique_ptr<SharedMemory> window_;
  std::byte* data_ = nullptr;
};

/// Values are 0 to 3, whole, so that sums up to 64 ranks are exact in every type.
std::vector<std::byte> pattern(DType dtype, std::size_t count, int rank) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) {
    values[i] = static_cast<float>((i + static_cast<std::size_t>(rank)) % 4);
  }
  std::vector<std::byte> bytes(count * size_of(dtype));
  const std::array<void*, 1> to{bytes.data()};
  const std::array<const void*, 1> from{values.data()};
  if (dtype == DType::float32 || dtype == DType::float16 || dtype == DType::bfloat16) {
    reduce(DType::float32, dtype, ReduceOp::sum, from, to, count, 1);
    return bytes;
  }
  for (std::size_t i = 0; i < count; ++i) {
    const double wide = static_cast<double>(values[i]);
    const auto whole =
        static_cast<std::int64_t>(values[i]);  // little endian: the low bytes are any integer type
    std::memcpy(bytes.data() + i * size_of(dtype),
                dtype == DType::float64 ? static_cast<const void*>(&wide) : &whole, size_of(dtype));
  }
  return bytes;
}

std::vector<std::byte> exact_sum(DType dtype, std::size_t count, int ranks) {
  auto sum = pattern(dtype, count, 0);
  for (int rank = 1; rank < ranks; ++rank) {
    const auto next = pattern(dtype, count, rank);
    const std::array<const void*, 2> from{sum.data(), next.data()};
    const std::array<void*, 1> to{sum.data()};
    reduce(dtype, dtype, ReduceOp::sum, from, to, count, 1);
  }
  return sum;
}

class Bench {
 public:
  Bench(Communicator& comm, NodeGroup* node, const AllReducePlan& plan, std::size_t bytes)
      : comm_(comm),
        plan_(plan),
        count_(bytes / size_of(plan.dtype)),
        bytes_(count_ * size_of(plan.dtype)),
        memory_(node, bytes_, comm.size()),
        source_(pattern(plan.dtype, count_, comm.rank())) {}

  AllReduceRow measure(bool in_place) {
    AllReduceRow row{.size_bytes = bytes_,
                     .count = count_,
                     .dtype = plan_.dtype,
                     .is_in_place = in_place,
                     .ranks = comm_.size()};
    row.errors = count_errors(in_place);
    row.time_us = bytes_ <= small_bytes ? time_many(in_place) : time_one_by_one(in_place);
    return row;
  }

 private:
  Buffer buffer() const { return {.data = memory_.data(), .count = count_, .dtype = plan_.dtype}; }
  void rewrite() { std::memcpy(memory_.data(), source_.data(), bytes_); }
  /// Out of place is a copy into the buffer first; it belongs to the time.
  void call(bool in_place) {
    if (!in_place) {
      rewrite();
    }
    comm_.all_reduce(buffer(), ReduceOp::sum).wait();
  }

  std::uint64_t count_errors(bool in_place) {
    rewrite();
    comm_.barrier();
    call(in_place);
    const auto sum = exact_sum(plan_.dtype, count_, comm_.size());
    std::int64_t errors = 0;
    const std::size_t element = size_of(plan_.dtype);
    for (std::size_t i = 0; i < count_; ++i) {
      errors +=
          std::memcmp(sum.data() + i * element, memory_.data() + i * element, element) != 0 ? 1 : 0;
    }
    comm_.all_reduce(buffer_of(&errors, 1), ReduceOp::sum).wait();
    return static_cast<std::uint64_t>(errors);
  }

  /// The time of the slowest rank, in all of them.
  double slowest(double time) {
    comm_.all_reduce(buffer_of(&time, 1), ReduceOp::max).wait();
    return time;
  }

  int rounds_for(double first_us) const {
    const double wanted = plan_.seconds_each * 1e6 / std::max(first_us, 1.0);
    return static_cast<int>(std::clamp(wanted, 7.0, 500.0));
  }

  double time_one_by_one(bool in_place) {
    std::vector<double> times;
    for (int round = 0, rounds = 7; round < rounds; ++round) {
      rewrite();
      comm_.barrier();
      const auto start = SteadyClock::now();
      call(in_place);
      times.push_back(slowest(us_since(start)));
      rounds = round == 1 ? rounds_for(2 * times[1]) : rounds;
    }
    return median(times);
  }

  double time_many(bool in_place) {
    std::vector<double> times;
    for (int round = 0, rounds = 7; round < rounds; ++round) {
      comm_.barrier();
      const auto start = SteadyClock::now();
      for (int i = 0; i < calls_together; ++i) {
        rewrite();
        call(in_place);
      }
      times.push_back(slowest(us_since(start) / calls_together));
      rounds = round == 1 ? rounds_for(times[1] * calls_together) : rounds;
    }
    return median(times);
  }

  static double median(std::vector<double> times) {
    const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
    std::ranges::nth_element(times, middle);
    return *middle;
  }

  Communicator& comm_;
  const AllReducePlan& plan_;
  std::size_t count_;
  std::size_t bytes_;
  Memory memory_;
  std::vector<std::byte> source_;
};

}  // namespace

void bench_all_reduce(Communicator& comm, NodeGroup* node, const AllReducePlan& plan,
                      const std::function<void(const AllReduceRow&)>& done) {
  for (const auto bytes : plan.sizes) {
    Bench bench(comm, node, plan, std::max(bytes, size_of(plan.dtype)));
    for (const bool in_place : {false, true}) {
      const auto row = bench.measure(in_place);
      if (comm.rank() == 0) {
        done(row);
      }
    }
  }
}

std::string table_heading(std::string_view backend, int ranks) {
  return fmt::format(
      "# all_reduce sum, back-end {}, {} ranks; every buffer is rewritten before each call; "
      "medians of the slowest rank\n"
      "# {:>12} {:>12} {:>9} {:>13} {:>10} {:>8} {:>8} {:>7}\n"
      "# {:>12} {:>12} {:>9} {:>13} {:>10} {:>8} {:>8} {:>7}",
      backend, ranks, "size", "count", "type", "", "time", "algbw", "busbw", "errors", "(B)",
      "(elements)", "", "", "(us)", "(GB/s)", "(GB/s)", "");
}

std::string table_line(const AllReduceRow& row) {
  return fmt::format("  {:>12} {:>12} {:>9} {:>13} {:>10.2f} {:>8.2f} {:>8.2f} {:>7}",
                     row.size_bytes, row.count, name_of(row.dtype),
                     row.is_in_place ? "in place" : "out of place", row.time_us, row.algbw_gbs(),
                     row.busbw_gbs(), row.errors);
}

std::string json_line(const AllReduceRow& row, std::string_view backend) {
  nlohmann::ordered_json line;
  line["size_bytes"] = row.size_bytes;
  line["count"] = row.count;
  line["dtype"] = name_of(row.dtype);
  line["backend"] = backend;
  line["ranks"] = row.ranks;
  line["in_place"] = row.is_in_place;
  line["time_us"] = row.time_us;
  line["algbw_gbs"] = row.algbw_gbs();
  line["busbw_gbs"] = row.busbw_gbs();
  line["errors"] = row.errors;
  return line.dump();
}

void print_all_reduce(Communicator& comm, NodeGroup* node, const AllReducePlan& plan,
                      std::string_view backend, bool json) {
  if (comm.rank() == 0 && !json) {
    fmt::print("{}\n", table_heading(backend, comm.size()));
  }
  std::int64_t errors = 0;
  bench_all_reduce(comm, node, plan, [&](const AllReduceRow& row) {
    fmt::print("{}\n", json ? json_line(row, backend) : table_line(row));
    std::fflush(stdout);
    errors += static_cast<std::int64_t>(row.errors);
  });
  comm.broadcast(buffer_of(&errors, 1), 0).wait();
  if (errors > 0) {
    throw Error(Fault::bug, fmt::format("{} elements were not the exact sum", errors));
  }
}

DType dtype_named(std::string_view name) {
  for (const auto dtype : {DType::float32, DType::float64, DType::float16, DType::bfloat16,
                           DType::int32, DType::int64, DType::uint8}) {
    if (name_of(dtype) == name) {
      return dtype;
    }
  }
  throw Error(
      Fault::bad_input,
      fmt::format(
          "'{}' is no type of element: float32, float64, float16, bfloat16, int32, int64, uint8",
          name));
}

}  // namespace muster
