// SPDX-License-Identifier: Apache-2.0
#include "collectives/bench/all_reduce_bench.h"

#include <algorithm>
#include <chrono>

#include "collectives/bench/bench_values.h"

namespace muster {
namespace {

using SteadyClock = std::chrono::steady_clock;
constexpr std::size_t small_bytes = 16384;  // below: many calls are timed together
constexpr int many_calls = 100;
constexpr int fewest_rounds = 7;

double us_since(SteadyClock::time_point start) {
  return std::chrono::duration<double, std::micro>(SteadyClock::now() - start).count();
}

double median(std::vector<double> times) {
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::ranges::nth_element(times, middle);
  return *middle;
}

/// One size.
class Bench {
 public:
  Bench(const BenchRanks& ranks, const AllReducePlan& plan, std::size_t bytes)
      : measured_(ranks.measured),
        control_(ranks.control),
        plan_(plan),
        count_(std::max<std::size_t>(1, bytes / size_of(plan.dtype))),
        values_(plan.dtype, measured_.size()),
        memory_(ranks.memory(count_ * size_of(plan.dtype))) {
    memory_->keep(values_.of_rank(measured_.rank(), count_));
  }

  AllReduceRow measure(Placement placement) {
    AllReduceRow row{.size_bytes = count_ * size_of(plan_.dtype),
                     .count = count_,
                     .dtype = plan_.dtype,
                     .placement = placement,
                     .ranks = measured_.size()};
    row.errors = count_errors(placement);
    row.time_us = median(times(placement, row.size_bytes <= small_bytes ? many_calls : 1));
    return row;
  }

 private:
  void call(Placement placement) {
    if (placement == Placement::out_of_place) {
      memory_->rewrite();
    }
    measured_
        .all_reduce({.data = memory_->data(),
                     .count = count_,
                     .dtype = plan_.dtype,
                     .device = memory_->device()},
                    ReduceOp::sum)
        .wait();
  }

  std::uint64_t count_errors(Placement placement) {
    memory_->rewrite();
    call(placement);
    auto errors = static_cast<std::int64_t>(values_.errors_in(memory_->contents()));
    control_.all_reduce(buffer_of(&errors, 1), ReduceOp::sum).wait();
    return static_cast<std::uint64_t>(errors);
  }

  /// Of a call, in each round, of the slowest rank. The second round says how many there will be.
  std::vector<double> times(Placement placement, int calls) {
    std::vector<double> all;
    for (int round = 0, rounds = fewest_rounds; round < rounds; ++round) {
      all.push_back(time(placement, calls));
      if (round == 1) {
        const double wanted = plan_.seconds_each * 1e6 / std::max(2 * all[1] * calls, 1.0);
        rounds = static_cast<int>(std::clamp(wanted, static_cast<double>(fewest_rounds), 500.0));
      }
    }
    return all;
  }

  double time(Placement placement, int calls) {
    memory_->rewrite();
    memory_->settle();
    control_.barrier();
    const auto start = SteadyClock::now();
    for (int i = 0; i < calls; ++i) {
      if (calls > 1) {
        memory_->rewrite();  // of a small buffer, which costs next to nothing
      }
      call(placement);
    }
    memory_->settle();
    double each = us_since(start) / calls;
    control_.all_reduce(buffer_of(&each, 1), ReduceOp::max).wait();
    return each;
  }

  Communicator& measured_;
  Communicator& control_;
  const AllReducePlan& plan_;
  std::size_t count_;
  BenchValues values_;
  std::unique_ptr<BenchMemory> memory_;
};

}  // namespace

void bench_all_reduce(const BenchRanks& ranks, const AllReducePlan& plan,
                      const std::function<void(const std::vector<AllReduceRow>&)>& done) {
  for (const auto bytes : plan.sizes) {
    Bench bench(ranks, plan, bytes);
    std::vector<AllReduceRow> rows;
    for (const auto placement : plan.placements) {
      rows.push_back(bench.measure(placement));
    }
    done(rows);
  }
}

}  // namespace muster
