// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
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

// The promise is 3 s; a machine under load may take its time.
constexpr std::chrono::seconds generous(30);

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
  EXPECT_LT(std::chrono::steady_clock::now() - start, generous);
}

TEST(ShmCommunicator, HasNothingToRecordAlone) {
  auto page = ControlPage::create(1);
  const auto group = shm_node_group(page, 0, 1);
  NodeCommunicator comm(*group, &page.slot(0));
  comm.barrier();
  EXPECT_EQ(page.slot(0).flight_count.load(), 0U);
}

/// A rank with a flight record on the page, as the rank program has one.
[[noreturn]] void reduce_until_the_end(const std::string& page_path, int rank) {
  try {
    auto page = ControlPage::open(page_path);
    const auto group = shm_node_group(page, rank, 2);
    NodeCommunicator comm(*group, &page.slot(rank));
    std::vector<double> values(rank == 0 ? 10 : 2000000);
    comm.all_reduce(buffer_of(values.data(), 10), ReduceOp::sum).wait();
    values.resize(2000000);
    for (;;) {
      comm.all_reduce(buffer_of(values.data(), values.size()), ReduceOp::max).wait();
    }
  } catch (const std::exception&) {
    ::_exit(1);
  }
}

/// What the launcher reads when a rank was killed in the middle of an operation.
TEST(ShmCommunicator, LeavesAFlightRecordOfAKilledRank) {
  auto page = ControlPage::create(2);
  std::array<pid_t, 2> ranks{};
  for (int rank = 0; rank < 2; ++rank) {
    ranks.at(static_cast<std::size_t>(rank)) = ::fork();
    if (ranks.at(static_cast<std::size_t>(rank)) == 0) {
      reduce_until_the_end(page.path(), rank);
    }
  }
  auto& slot = page.slot(1);
  const auto under_way = [&slot] {
    const auto count = slot.flight_count.load();
    return count > 5 && slot.flight.at((count - 1) % RankSlot::flight_length).end_ns.load() == 0;
  };
  while (!under_way()) {
    ::usleep(100);
  }
  ::kill(ranks[1], SIGKILL);
  for (const pid_t rank : ranks) {
    ::waitpid(rank, nullptr, 0);
  }
  const auto count = slot.flight_count.load();
  ASSERT_GT(count, 5U);
  EXPECT_STREQ(slot.flight[0].operation.data(), "all_reduce float64");
  EXPECT_EQ(slot.flight[0].bytes.load(), 80U);
  const auto last = std::min<std::uint64_t>(count, RankSlot::flight_length);
  for (std::uint64_t i = 0; i + 1 < last; ++i) {
    const auto& entry = slot.flight.at(i);
    if (count <= RankSlot::flight_length) {
      EXPECT_EQ(entry.sequence.load(), i + 1);
    }
    EXPECT_GT(entry.start_ns.load(), 0);
  }
  const auto& end = slot.flight.at((count - 1) % RankSlot::flight_length);
  EXPECT_EQ(end.sequence.load(), count);
  EXPECT_EQ(end.bytes.load(), 16000000U);
  EXPECT_STREQ(end.operation.data(), "all_reduce float64");
}

}  // namespace
}  // namespace muster::test
