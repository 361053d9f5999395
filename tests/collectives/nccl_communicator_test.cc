// SPDX-License-Identifier: Apache-2.0
#include "collectives/nccl/nccl_communicator.h"

#include <gmock/gmock.h>

#include <latch>

#include "collectives/node/checked_work.h"
#include "collectives/node/node_communicator.h"
#include "runtime/base/error.h"
#include "tests/support/communicator_conformance.h"
#include "tests/support/fake_nccl.h"
#include "tests/support/ranks.h"

namespace muster::test {
namespace {

using std::chrono::milliseconds;
using testing::AllOf;
using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;

const nccl::NcclTable nccl_table = FakeNccl::nccl_table();
const nccl::CudaTable cuda_table = FakeNccl::cuda_table();

Buffer on_gpu(Buffer buffer) {
  buffer.device = {.kind = Device::Kind::cuda, .index = 0};
  return buffer;
}

/// Calls host memory memory of a GPU and waits for streams, so that the battery for hosts can
/// judge.
class OnHost final : public Communicator {
 public:
  explicit OnHost(std::unique_ptr<Communicator> comm) : comm_(std::move(comm)) {}
  int rank() const noexcept override { return comm_->rank(); }
  int size() const noexcept override { return comm_->size(); }
  int local_rank() const noexcept override { return comm_->local_rank(); }
  int local_size() const noexcept override { return comm_->local_size(); }
  Work all_reduce(Buffer buffer, ReduceOp op) override {
    return over(comm_->all_reduce(on_gpu(buffer), op));
  }
  Work reduce_scatter(Buffer in, Buffer out, ReduceOp op) override {
    return over(comm_->reduce_scatter(on_gpu(in), on_gpu(out), op));
  }
  Work all_gather(Buffer in, Buffer out) override {
    return over(comm_->all_gather(on_gpu(in), on_gpu(out)));
  }
  Work broadcast(Buffer buffer, int root) override {
    return over(comm_->broadcast(on_gpu(buffer), root));
  }
  void barrier() override { comm_->barrier(); }
  std::unique_ptr<Communicator> split(int colour, int key) override {
    auto part = comm_->split(colour, key);
    return part ? std::make_unique<OnHost>(std::move(part)) : nullptr;
  }
  void abort(std::string_view why) noexcept override { comm_->abort(why); }

 private:
  static Work over(Work work) {
    work.wait();
    FakeNccl::synchronise();
    return Work();
  }
  std::unique_ptr<Communicator> comm_;
};

const NcclOptions patient{.start_deadline = milliseconds(20000),
                          .deadline = milliseconds(20000),
                          .look_every = milliseconds(1)};
const NcclOptions hasty{.start_deadline = milliseconds(300),
                        .deadline = milliseconds(300),
                        .look_every = milliseconds(5)};
const NcclOptions hasty_operations{.start_deadline = milliseconds(20000),
                                   .deadline = milliseconds(300),
                                   .look_every = milliseconds(5)};

using GpuBody = std::function<void(NcclCommunicator& comm)>;
Endings run(int ranks, const GpuBody& body, const NcclOptions& options = patient,
            const nccl::NcclTable& table = nccl_table) {
  return run_threads(ranks, [&](LocalGroup& group) {
    NodeCommunicator host(group);
    NcclCommunicator comm(table, cuda_table, host, options);
    body(comm);
  });
}

class NcclConformance : public testing::TestWithParam<int> {};

void conform(int ranks, const FakeFaults& faults, const nccl::NcclTable& table) {
  for (const auto& body : conformance_bodies()) {
    const FakeNccl fake(faults);
    const auto endings = run_threads(ranks, [&](LocalGroup& group) {
      NodeCommunicator host(group);
      OnHost comm(std::make_unique<NcclCommunicator>(table, cuda_table, host, patient));
      body.run(comm);
    });
    EXPECT_THAT(endings, Each(IsEmpty())) << body.name;
    EXPECT_EQ(fake.aborts(), 0) << body.name;
    EXPECT_EQ(fake.intrusions(), 0) << body.name;
    EXPECT_GE(fake.finalises(), ranks) << body.name;
  }
}

TEST_P(NcclConformance, Holds) {
  conform(GetParam(), {}, nccl_table);
}
INSTANTIATE_TEST_SUITE_P(Ranks, NcclConformance, testing::Values(1, 2, 3, 4));

TEST(NcclCommunicator, DoesWithoutWhatAnOlderLibraryLacks) {
  auto older = nccl_table;
  older.split = nullptr;
  older.shrink = nullptr;
  older.register_buffer = nullptr;
  conform(2, {}, older);
  const FakeNccl fake;
  const auto endings = run(
      2, [](NcclCommunicator& comm) { demand(!comm.register_buffer({}), "no registration"); },
      patient, older);
  EXPECT_THAT(endings, Each(IsEmpty()));
}

TEST(NcclCommunicator, WaitsOutCallsThatStayInProgress) {
  conform(2, {.calls_stay_in_progress = true}, nccl_table);
}

/// Two reductions, the first waited for after the second was issued.
FakeTrace step_of(NcclCommunicator& comm) {
  FakeTrace trace;
  std::vector<float> values(100, 1);
  std::vector<float> more(10, 1);
  FakeNccl::trace_into(&trace);
  Work first = comm.all_reduce(on_gpu(buffer_of(values.data(), 100)), ReduceOp::sum);
  Work second = comm.broadcast(on_gpu(buffer_of(more.data(), 10)), 0);
  first.wait();
  second.wait();
  FakeNccl::trace_into(nullptr);
  FakeNccl::synchronise();
  return trace;
}

TEST(NcclCommunicator, IssuesCallsInOneOrderOnAllRanks) {
  const FakeNccl fake;
  std::vector<std::vector<std::string>> calls(3);
  const auto endings = run(3, [&](NcclCommunicator& comm) {
    for (int step = 0; step < 3; ++step) {
      for (const auto& call : step_of(comm)) {
        if (call.kind == FakeCall::Kind::operation) {
          calls[static_cast<std::size_t>(comm.rank())].push_back(call.text);
        }
      }
    }
  });
  EXPECT_THAT(endings, Each(IsEmpty()));
  EXPECT_EQ(calls[0].size(), 6U);
  EXPECT_THAT(calls, Each(calls[0]));
}

TEST(NcclCommunicator, AskingWhetherAnOperationIsOverLeavesNoErrorToTheNextLaunch) {
  const FakeNccl fake;
  std::latch has_asked(1);
  const auto endings = run(2, [&](NcclCommunicator& comm) {
    std::vector<float> values(100, 1);
    if (comm.rank() == 1) {
      has_asked.wait();
    }
    Work work = comm.all_reduce(on_gpu(buffer_of(values.data(), 100)), ReduceOp::sum);
    if (comm.rank() == 0) {
      const bool was_over = work.done();
      const int remembered = cuda_table.last_error();
      has_asked.count_down();
      demand(!was_over && remembered == 0, "not over, and no error");
    }
    work.wait();
    FakeNccl::synchronise();
  });
  EXPECT_THAT(endings, Each(IsEmpty()));
}

std::ptrdiff_t find(const FakeTrace& trace, FakeCall::Kind kind, bool on_compute, nccl::Event event,
                    std::ptrdiff_t from) {
  for (auto i = from; i < std::ssize(trace); ++i) {
    const auto& call = trace[static_cast<std::size_t>(i)];
    if (call.kind == kind && (call.stream == nullptr) == on_compute &&
        (event == nullptr || call.event == event)) {
      return i;
    }
  }
  return -1;
}

TEST(NcclCommunicator, OrdersEachOperationAfterAndBeforeCompute) {
  const FakeNccl fake;
  const auto endings = run(2, [](NcclCommunicator& comm) {
    using enum FakeCall::Kind;
    const auto trace = step_of(comm);
    const auto ready = find(trace, record, true, nullptr, 0);
    demand(ready == 0, "compute is marked first");
    const auto held = find(trace, wait, false, trace[0].event, ready);
    const auto called = find(trace, operation, false, nullptr, held);
    demand(held >= 0 && called == held + 1, "the operation waits for compute");
    const auto done = find(trace, record, false, nullptr, called);
    demand(done == called + 1, "the operation's end is marked");
    const auto joined = find(trace, wait, true, trace[static_cast<std::size_t>(done)].event, done);
    demand(joined > done, "compute waits for the operation when the work is waited for");
    demand(joined > find(trace, operation, false, nullptr, called + 1), "and not before");
  });
  EXPECT_THAT(endings, Each(IsEmpty()));
}

void reduce_three_times(NcclCommunicator& comm) {
  thread_local std::vector<float> values;  // another rank may end an operation until comm is gone
  values.assign(100, 1);
  for (int i = 0; i < 3; ++i) {
    comm.all_reduce(on_gpu(buffer_of(values.data(), 100)), ReduceOp::sum).wait();
  }
  comm.barrier();
}

TEST(NcclCommunicator, EndsAHangWithTheOperationAndTheRank) {
  const FakeNccl fake({.hang_from_operation = 2});
  const auto start = std::chrono::steady_clock::now();
  const auto endings = run(2, reduce_three_times, hasty_operations);
  EXPECT_THAT(
      endings,
      Each(AllOf(
          HasSubstr("all_reduce of 100 float32 (operation 2) was not over within 0.3 s on rank"),
          HasSubstr("another rank"))));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
  EXPECT_EQ(fake.aborts(), 2) << "every rank aborts its own";
  EXPECT_EQ(fake.finalises(), 0);
}

TEST(NcclCommunicator, ReportsErrorsThatComeLater) {
  const FakeNccl fake({.hang_from_operation = 1, .remote_error_from_operation = 1});
  EXPECT_THAT(run(2, reduce_three_times), Each(HasSubstr("remote process exited")));
}

TEST(NcclCommunicator, ReportsACallThatFails) {
  const FakeNccl fake({.fail_operation = 2});
  EXPECT_THAT(run(2, reduce_three_times),
              Each(AllOf(HasSubstr("all_reduce of 100 float32 (operation 2) on rank"),
                         HasSubstr("internal error (socket: connection refused)"))));
}

TEST(NcclCommunicator, AbortsWhenAnotherRankHasFailed) {
  const FakeNccl fake({.hang_from_operation = 1});
  auto told = patient;
  told.trouble_elsewhere = [] { return std::string("rank 7 died"); };
  EXPECT_THAT(run(2, reduce_three_times, told), Each(HasSubstr("rank 7 died")));
  EXPECT_EQ(fake.aborts(), 2);
}

TEST(NcclCommunicator, TellsOthersBeforeItsAbortWaitsForGraphs) {
  const FakeNccl fake({.graphs_hold_operations = true});
  const auto endings = run(2, [](NcclCommunicator& comm) {
    if (comm.rank() == 0) {
      comm.abort("a kernel failed");  // by the thread that has the graphs
    }
    try {
      comm.barrier();
    } catch (const Error&) {
      FakeNccl::drop_graphs();
      throw;
    }
  });
  EXPECT_THAT(endings, Each(HasSubstr("rank 0 aborted: a kernel failed")));
}

TEST(NcclCommunicator, AsksNothingOfNcclThatWasAborted) {
  const FakeNccl fake({.calls_never_settle = true});
  auto told = patient;
  const auto start = std::chrono::steady_clock::now();
  told.trouble_elsewhere = [start] {
    return std::chrono::steady_clock::now() - start < milliseconds(200) ? std::string()
                                                                        : "rank 7 died";
  };
  EXPECT_THAT(run(2, reduce_three_times, told), Each(HasSubstr("rank 7 died")));
  EXPECT_EQ(fake.aborts(), 2);
  EXPECT_EQ(fake.late_questions(), 0);
}

TEST(NcclCommunicator, GivesUpConnectingAtTheDeadline) {
  const FakeNccl fake({.never_connects = true});
  EXPECT_THAT(run(2, reduce_three_times, hasty),
              Each(AllOf(HasSubstr("connecting 2 ranks took longer than 0.3 s on rank"),
                         HasSubstr("NCCL_SOCKET_IFNAME"))));
  EXPECT_GE(fake.aborts(), 1);
}

TEST(NcclCommunicator, AbortsWhatCannotBeFinalised) {
  const FakeNccl fake({.never_finalises = true});
  EXPECT_THAT(run(1, reduce_three_times, hasty), Each(IsEmpty()));
  EXPECT_EQ(fake.aborts(), 1);
}

TEST(NcclCommunicator, RefusesTwoRanksOnOneGpu) {
  const FakeNccl fake({.one_gpu_for_all = true});
  EXPECT_THAT(run(2, reduce_three_times),
              Each(AllOf(HasSubstr("ranks 0 and 1 both use GPU 0000:00:00.0"),
                         HasSubstr("CUDA_VISIBLE_DEVICES"))));
}

TEST(NcclCommunicator, TwoRanksOnOneGpuThatHadTheirOwnAreNoFaultOfTheUser) {
  const FakeNccl fake({.one_gpu_for_all = true});
  auto before = patient;
  before.had_own = true;
  std::array<Fault, 3> faults{};
  run_threads(static_cast<int>(faults.size()), [&](LocalGroup& group) {
    NodeCommunicator host(group);
    try {
      const NcclCommunicator comm(nccl_table, cuda_table, host, before);
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("which had one for each before"));
      faults.at(static_cast<std::size_t>(host.rank())) = error.fault();
    }
  });
  EXPECT_THAT(faults, testing::ElementsAre(Fault::io, Fault::io, Fault::communication));
}

TEST(NcclCommunicator, RefusesMemoryOfTheHost) {
  const FakeNccl fake;
  const auto endings = run(1, [](NcclCommunicator& comm) {
    float value = 0;
    comm.all_reduce(buffer_of(&value, 1), ReduceOp::sum).wait();
  });
  EXPECT_THAT(endings, Each(HasSubstr("memory of this rank's GPU")));
}

TEST(NcclCommunicator, GoesOnWithoutARank) {
  const FakeNccl fake;
  const auto endings = run_threads(3, [](LocalGroup& group) {
    NodeCommunicator host(group);
    NcclCommunicator comm(nccl_table, cuda_table, host, patient);
    const auto rest_of_hosts = host.split(group.rank() == 1 ? -1 : 0, group.rank());
    if (group.rank() != 1) {
      const std::array gone{1};
      const auto rest = comm.without(gone, *rest_of_hosts);
      float value = 1;
      rest->all_reduce(on_gpu(buffer_of(&value, 1)), ReduceOp::sum).wait();
      FakeNccl::synchronise();
      demand(value == 2, "the two who stay reduce");
    }
    host.barrier();
  });
  EXPECT_THAT(endings, Each(IsEmpty()));
}

TEST(NcclLibrary, SaysHowToGetWhatIsNotThere) {
  try {
    nccl::load_nccl({"libnothing-of-this-name.so"});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("libnothing-of-this-name.so"),
                                    HasSubstr("pip install nvidia-nccl")));
  }
  EXPECT_THROW(nccl::load_cuda({"libnothing-of-this-name.so"}), Error);
}

TEST(NcclLibrary, RefusesALibraryWithoutItsFunctions) {
  try {
    nccl::load_nccl({"libc.so.6"});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("ncclGetVersion"));
  }
}

TEST(NcclLibrary, SpeaksWithTheRealOneWhereItIsInstalled) {
  nccl::NcclTable table;
  try {
    table = nccl::load_nccl();
  } catch (const Error&) {
    GTEST_SKIP() << "no NCCL here";
  }
  int version = 0;
  EXPECT_EQ(table.get_version(&version), nccl::success);
  EXPECT_GE(version, nccl::Config::oldest_version);
}

}  // namespace
}  // namespace muster::test
