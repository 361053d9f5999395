// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>

#include "collectives/node/node_communicator.h"
#include "tests/support/communicator_conformance.h"
#include "tests/support/ranks.h"

namespace muster::test {
namespace {

using testing::AllOf;
using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;

class ShmCommunicator : public testing::TestWithParam<int> {};

TEST_P(ShmCommunicator, Conforms) {
  for (const auto& body : conformance_bodies()) {
    const auto endings = run_processes(GetParam(), [&](LocalGroup& group) {
      NodeCommunicator comm(group);
      body.run(comm);
    });
    EXPECT_THAT(endings, Each(IsEmpty())) << body.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, ShmCommunicator, testing::Values(1, 2, 3, 4));

Endings errors(int ranks, std::string (*body)(Communicator&)) {
  return run_processes(ranks, [&](LocalGroup& group) {
    NodeCommunicator comm(group);
    throw std::runtime_error(body(comm));
  });
}

TEST(ShmCommunicator, NamesWhatRanksDisagreeAbout) {
  EXPECT_THAT(errors(2, error_of_mismatched_counts),
              Each(HasSubstr("rank 1 calls all_reduce (sum) of 2001")));
  EXPECT_THAT(errors(3, error_of_mismatched_operations), Each(HasSubstr("rank 2 calls broadcast")));
}

TEST(ShmCommunicator, IsOverAfterAbort) {
  EXPECT_THAT(errors(3, error_after_abort), Each(HasSubstr("rank 2 aborted: out of milk")));
}

TEST(ShmCommunicator, NamesARankKilledInTheMiddleOfAnOperation) {
  const auto start = std::chrono::steady_clock::now();
  const auto endings = run_processes(3, [](LocalGroup& group) {
    NodeCommunicator comm(group);
    std::vector<float> values(3000000, 1.0F);
    if (group.rank() == 2) {
      ::signal(SIGALRM, SIG_DFL);
      ::ualarm(30000, 0);  // ends this process while it reduces, wherever it is
    }
    for (;;) {
      comm.all_reduce(buffer_of(values.data(), values.size()), ReduceOp::max).wait();
    }
  });
  EXPECT_EQ(endings[2], "killed by signal 14");
  EXPECT_THAT(endings[0], AllOf(HasSubstr("rank 2 (process "), HasSubstr("died")));
  EXPECT_THAT(endings[1], AllOf(HasSubstr("rank 2 (process "), HasSubstr("died")));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(3));
}

TEST(ShmCommunicator, LeavesAFlightRecordOfADeadRank) {
  auto page = ControlPage::create(1);
  {
    const auto group = shm_node_group(page, 0, 1);
    NodeCommunicator comm(*group, &page.slot(0));
    comm.barrier();
  }
  EXPECT_EQ(page.slot(0).flight_count.load(), 0U) << "a group of one has nothing to record";
  const auto endings = run_processes(2, [](LocalGroup& group) {
    RankSlot slot;
    NodeCommunicator comm(group, &slot);
    std::vector<double> values(10);
    comm.all_reduce(buffer_of(values.data(), values.size()), ReduceOp::sum).wait();
    comm.barrier();
    demand(slot.flight_count == 2 &&
               std::string_view(slot.flight[0].operation.data()) == "all_reduce float64",
           "operations are recorded");
    demand(slot.flight[0].bytes == 80 && slot.flight[0].end_ns >= slot.flight[0].start_ns,
           "with bytes and times");
  });
  EXPECT_THAT(endings, Each(IsEmpty()));
}

}  // namespace
}  // namespace muster::test
