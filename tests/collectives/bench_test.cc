// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "collectives/bench/all_reduce_bench.h"
#include "collectives/bench/local_ranks.h"
#include "collectives/node/node_communicator.h"
#include "runtime/base/error.h"

namespace muster {
namespace {

using testing::HasSubstr;

TEST(AllReduceBench, ChecksEveryTypeInPlaceAndOutOfPlace) {
  for (const auto dtype : {DType::float32, DType::float64, DType::float16, DType::bfloat16,
                           DType::int32, DType::int64, DType::uint8}) {
    std::vector<AllReduceRow> rows;
    run_as_threads(2, [&](LocalGroup& group) {
      NodeCommunicator comm(group);
      bench_all_reduce(comm, &group, {.sizes = {64, 20000}, .dtype = dtype, .seconds_each = 0.001},
                       [&](const AllReduceRow& row) { rows.push_back(row); });
    });
    ASSERT_EQ(rows.size(), 4U);
    for (const auto& row : rows) {
      EXPECT_EQ(row.errors, 0U) << name_of(dtype);
      EXPECT_GT(row.time_us, 0);
      EXPECT_EQ(row.count * size_of(dtype), row.size_bytes);
    }
  }
}

TEST(AllReduceBench, WritesTheAgreedFields) {
  const AllReduceRow row{.size_bytes = 4000, .count = 1000, .ranks = 4, .time_us = 2};
  const auto line = nlohmann::json::parse(json_line(row, "shm"));
  EXPECT_EQ(line["algbw_gbs"], 2.0);
  EXPECT_EQ(line["busbw_gbs"], 3.0);
  for (const auto* field :
       {"size_bytes", "count", "dtype", "backend", "ranks", "time_us", "errors"}) {
    EXPECT_TRUE(line.contains(field)) << field;
  }
}

TEST(LocalRanks, SaysWhatFailedFirst) {
  try {
    run_as_processes(2, [](LocalGroup& group) {
      if (group.rank() == 1) {
        throw Error(Fault::io, "no milk");
      }
      group.barrier();
    });
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("no milk"));
  }
}

}  // namespace
}  // namespace muster
