// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "collectives/bench/all_reduce_report.h"
#include "collectives/bench/bench_values.h"
#include "collectives/bench/gpu_memory.h"
#include "collectives/bench/local_ranks.h"
#include "collectives/nccl/nccl_communicator.h"
#include "collectives/node/node_communicator.h"
#include "collectives/reduce/reduce.h"
#include "runtime/base/error.h"
#include "tests/support/fake_nccl.h"

namespace muster::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::array all_types{DType::float32, DType::float64, DType::float16, DType::bfloat16,
                               DType::int32,   DType::int64,   DType::uint8};

AllReducePlan quick(std::vector<std::size_t> sizes, DType dtype = DType::float32) {
  return {.sizes = std::move(sizes), .dtype = dtype, .seconds_each = 0.001};
}

void expect_good(const std::vector<AllReduceRow>& rows, DType dtype) {
  ASSERT_EQ(rows.size(), 4U);
  for (const auto& row : rows) {
    EXPECT_EQ(row.errors, 0U) << name_of(dtype);
    EXPECT_GT(row.time_us, 0);
    EXPECT_EQ(row.count * size_of(dtype), row.size_bytes);
  }
  EXPECT_EQ(rows[0].placement, Placement::out_of_place);
  EXPECT_EQ(rows[1].placement, Placement::in_place);
}

TEST(AllReduceBench, ChecksEveryTypeInPlaceAndOutOfPlace) {
  for (const auto dtype : all_types) {
    std::vector<AllReduceRow> all;
    run_as_threads(2, [&](LocalGroup& group) {
      NodeCommunicator comm(group);
      bench_all_reduce({comm, comm, window_memory(group)}, quick({64, 20000}, dtype),
                       [&](const std::vector<AllReduceRow>& rows) {
                         if (group.rank() == 0) {
                           all.insert(all.end(), rows.begin(), rows.end());
                         }
                       });
    });
    expect_good(all, dtype);
  }
}

TEST(AllReduceBench, MeasuresMemoryOfGpus) {
  const FakeNccl fake;
  const auto table = FakeNccl::nccl_table();
  const auto cuda = FakeNccl::cuda_table();
  std::vector<AllReduceRow> all;
  run_as_threads(3, [&](LocalGroup& group) {
    NodeCommunicator host(group);
    NcclCommunicator comm(table, cuda, host, {.device = group.rank()});
    bench_all_reduce({comm, host, gpu_memory(cuda, group.rank())}, quick({64, 20000}),
                     [&](const std::vector<AllReduceRow>& rows) {
                       if (group.rank() == 0) {
                         all.insert(all.end(), rows.begin(), rows.end());
                       }
                     });
  });
  expect_good(all, DType::float32);
}

TEST(AllReduceBench, WantsAGpuForEachRank) {
  const FakeNccl fake({.one_gpu_for_all = true});
  try {
    check_gpus(FakeNccl::cuda_table(), 2);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("this machine shows 1 to 2 ranks"));
    EXPECT_EQ(exit_code_of(error), 64);
  }
}

/// Does nothing, so that every sum is wrong where ranks differ.
class Idle final : public Communicator {
 public:
  explicit Idle(Communicator& real) : real_(real) {}
  int rank() const noexcept override { return real_.rank(); }
  int size() const noexcept override { return real_.size(); }
  int local_rank() const noexcept override { return real_.rank(); }
  int local_size() const noexcept override { return real_.size(); }
  Work all_reduce(Buffer /*buffer*/, ReduceOp /*op*/) override { return Work(); }
  Work reduce_scatter(Buffer /*in*/, Buffer /*out*/, ReduceOp /*op*/) override { return Work(); }
  Work all_gather(Buffer /*in*/, Buffer /*out*/) override { return Work(); }
  Work broadcast(Buffer /*buffer*/, int /*root*/) override { return Work(); }
  void barrier() override {}
  std::unique_ptr<Communicator> split(int /*colour*/, int /*key*/) override { return nullptr; }
  void abort(std::string_view /*why*/) noexcept override {}

 private:
  Communicator& real_;
};

TEST(AllReduceBench, EndsWithAnErrorWhenSumsAreWrong) {
  try {
    run_as_threads(2, [](LocalGroup& group) {
      NodeCommunicator comm(group);
      Idle idle(comm);
      print_all_reduce({idle, comm, plain_memory()}, quick({4096}), "idle", true);
    });
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("elements were not the exact sum"));
    EXPECT_EQ(exit_code_of(error), 1);
  }
}

TEST(BenchValues, SeeAnElementThatIsWrongOrLandsElsewhere) {
  for (const auto dtype : all_types) {
    const BenchValues alone(dtype, 1);
    auto sum = alone.of_rank(0, 100);
    EXPECT_EQ(alone.errors_in(sum), 0U) << name_of(dtype);
    std::rotate(sum.begin(), sum.begin() + static_cast<std::ptrdiff_t>(4 * size_of(dtype)),
                sum.end());
    EXPECT_GT(alone.errors_in(sum), 30U) << name_of(dtype);
    EXPECT_GT(BenchValues(dtype, 2).errors_in(alone.of_rank(0, 100)), 30U) << name_of(dtype);
  }
}

TEST(BenchValues, AddUpExactlyForEveryNumberOfRanks) {
  for (const auto dtype : all_types) {
    for (const int ranks : {2, 3, 64, 65, 256}) {
      const BenchValues values(dtype, ranks);
      std::vector<std::vector<std::byte>> parts;
      std::vector<const void*> sources;
      for (int rank = 0; rank < ranks; ++rank) {
        parts.push_back(values.of_rank(rank, 500));
        sources.push_back(parts.back().data());
      }
      std::vector<std::byte> sum(parts[0].size());
      const std::array<void*, 1> to{sum.data()};
      reduce(dtype, dtype, ReduceOp::sum, sources, to, 500, 1);
      EXPECT_EQ(values.errors_in(sum), 0U) << name_of(dtype) << " of " << ranks;
    }
  }
}

TEST(AllReduceReport, WritesTheAgreedFields) {
  const AllReduceRow row{.size_bytes = 4000, .count = 1000, .ranks = 4, .time_us = 2};
  const auto line = nlohmann::json::parse(json_line(row, "shm"));
  EXPECT_EQ(line["algbw_gbs"], 2.0);
  EXPECT_EQ(line["busbw_gbs"], 3.0);
  for (const auto* field :
       {"size_bytes", "count", "dtype", "backend", "ranks", "time_us", "errors"}) {
    EXPECT_TRUE(line.contains(field)) << field;
  }
}

TEST(AllReduceReport, KeepsColumnsUnderTheirHeadings) {
  const AllReduceRow row{.size_bytes = 4000, .count = 1000, .ranks = 4, .time_us = 2};
  const auto line = table_line({row});
  EXPECT_THAT(line, HasSubstr("float32"));
  EXPECT_THAT(line, HasSubstr(" - ")) << "out of place was not measured";
  const auto heading = table_heading("shm", 4);
  const auto last = heading.substr(heading.rfind('\n') + 1);
  EXPECT_EQ(last.size(), line.size());
}

TEST(AllReducePlan, TravelsAsWords) {
  const AllReducePlan plan{.sizes = {64, 1 << 20},
                           .dtype = DType::bfloat16,
                           .placements = {Placement::in_place},
                           .seconds_each = 0.25};
  const auto same = plan_of(words_of(plan));
  EXPECT_EQ(same.sizes, plan.sizes);
  EXPECT_EQ(same.dtype, plan.dtype);
  EXPECT_EQ(same.placements, plan.placements);
  EXPECT_EQ(same.seconds_each, plan.seconds_each);
}

TEST(AllReducePlan, ReadsSizesAndSaysWhatIsNone) {
  EXPECT_THAT(sizes_named("64, 4K"), ElementsAre(64, 4096));
  EXPECT_THAT(sizes_named("1K..5K,1M"), ElementsAre(1024, 2048, 4096, 1 << 20));
  EXPECT_EQ(sizes_named("64..512M").size(), 24U);
  for (const auto* wrong : {"", "0", "64,", "4Q", "-1", "64..", "1M..1K", "1..x"}) {
    EXPECT_THROW(sizes_named(wrong), Error) << wrong;
  }
}

TEST(AllReducePlan, RefusesMoreThanTheMachineHolds) {
  EXPECT_THROW(check_room(quick({std::size_t{1} << 50U}), 2), Error);
  check_room(quick({64}), 2);
}

TEST(LocalRanks, SaysWhatFailedFirst) {
  try {
    run_as_processes(2, [](LocalGroup& group) {
      if (group.rank() == 1) {
        throw Error(Fault::bad_input, "no milk");
      }
      group.barrier();
    });
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("no milk"));
    EXPECT_EQ(exit_code_of(error), 64);
  }
}

}  // namespace
}  // namespace muster::test
