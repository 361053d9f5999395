// SPDX-License-Identifier: Apache-2.0
#include "collectives/node/node_communicator.h"

#include <gmock/gmock.h>

#include "tests/support/communicator_conformance.h"
#include "tests/support/ranks.h"

namespace muster::test {
namespace {

using testing::AllOf;
using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;

class ThreadCommunicator : public testing::TestWithParam<int> {};

TEST_P(ThreadCommunicator, Conforms) {
  for (const auto& body : conformance_bodies()) {
    const auto endings = run_threads(GetParam(), [&](LocalGroup& group) {
      NodeCommunicator comm(group);
      body.run(comm);
    });
    EXPECT_THAT(endings, Each(IsEmpty())) << body.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, ThreadCommunicator, testing::Values(1, 2, 3, 4));

/// What each rank got to read.
Endings errors(int ranks, std::string (*body)(Communicator&)) {
  return run_threads(ranks, [&](LocalGroup& group) {
    NodeCommunicator comm(group);
    throw std::runtime_error(body(comm));
  });
}

TEST(ThreadCommunicator, NamesWhoCallsWithAnotherCount) {
  EXPECT_THAT(errors(3, error_of_mismatched_counts),
              Each(HasSubstr("rank 1 calls all_reduce (sum) of 2001 float32 where rank 0 calls "
                             "all_reduce (sum) of 2000")));
}

TEST(ThreadCommunicator, NamesWhoCallsAnotherOperation) {
  EXPECT_THAT(errors(2, error_of_mismatched_operations),
              Each(HasSubstr("rank 1 calls broadcast from rank 0")));
}

TEST(ThreadCommunicator, IsOverAfterAbort) {
  EXPECT_THAT(errors(1, error_after_abort), Each(HasSubstr("rank 0 aborted: out of milk")));
  EXPECT_THAT(errors(4, error_after_abort), Each(HasSubstr("rank 3 aborted: out of milk")));
}

TEST(ThreadCommunicator, IsOverWhenWorkIsDropped) {
  EXPECT_THAT(errors(2, error_of_dropped_work),
              Each(AllOf(HasSubstr("rank 0 aborted"), HasSubstr("must be waited for"))));
}

TEST(ThreadCommunicator, ReducesInWindows) {
  const auto body = [](LocalGroup& group) {
    NodeCommunicator comm(group);
    reduces_in_windows(comm, group);
  };
  for (const int ranks : {1, 2, 3, 4}) {
    EXPECT_THAT(run_threads(ranks, body), Each(IsEmpty()));
  }
}

}  // namespace
}  // namespace muster::test
