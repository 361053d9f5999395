// Training on the stand-in with the real NcclCommunicator over the fake NCCL: what is called, in
// which order, and which events lie between. SPDX-License-Identifier: Apache-2.0
#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "collectives/nccl/nccl_communicator.h"
#include "collectives/node/node_communicator.h"
#include "runtime/gpu/host_gpu.h"
#include "runtime/train/gradient_pool.h"
#include "runtime/train/trainer.h"
#include "tests/support/fake_nccl.h"
#include "tests/support/listener.h"
#include "tests/support/ranks.h"

namespace muster::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const nccl::NcclTable nccl_table = FakeNccl::nccl_table();
const nccl::CudaTable cuda_table = FakeNccl::cuda_table();

/// The stand-in computes at once, so waiting for a Work means that its operation is over.
class AtOnce final : public Communicator {
 public:
  explicit AtOnce(NcclCommunicator& comm) : comm_(comm) {}
  int rank() const noexcept override { return comm_.rank(); }
  int size() const noexcept override { return comm_.size(); }
  int local_rank() const noexcept override { return comm_.local_rank(); }
  int local_size() const noexcept override { return comm_.local_size(); }
  Work all_reduce(Buffer buffer, ReduceOp op) override {
    return over(comm_.all_reduce(on_gpu(buffer), op));
  }
  Work reduce_scatter(Buffer in, Buffer out, ReduceOp op) override {
    return over(comm_.reduce_scatter(on_gpu(in), on_gpu(out), op));
  }
  Work all_gather(Buffer in, Buffer out) override {
    return over(comm_.all_gather(on_gpu(in), on_gpu(out)));
  }
  Work broadcast(Buffer buffer, int root) override {
    return over(comm_.broadcast(on_gpu(buffer), root));
  }
  void barrier() override { comm_.barrier(); }
  std::unique_ptr<Communicator> split(int /*colour*/, int /*key*/) override { return nullptr; }
  void abort(std::string_view why) noexcept override { comm_.abort(why); }

 private:
  class Then final : public Work::State {
   public:
    explicit Then(Work work) : work_(std::move(work)) {}
    void wait() override {
      work_.wait();
      FakeNccl::synchronise();
    }
    bool done() override { return work_.done(); }
    void dropped() noexcept override {}

   private:
    Work work_;
  };
  static Work over(Work work) { return Work(std::make_unique<Then>(std::move(work))); }
  static Buffer on_gpu(Buffer buffer) {
    buffer.device = {.kind = Device::Kind::cuda, .index = 0};
    return buffer;
  }
  NcclCommunicator& comm_;
};

JobSettings job_of() {
  JobSettings job;
  job.model.hidden = "16";
  job.data.format = "synthetic";
  job.data.shape = "12";
  job.data.classes = 4;
  job.data.rows = 64;
  job.optimizer.lr = 0.05;
  job.train.seed = 3;
  job.train.batch_size = 16;
  job.train.epochs = 4;
  job.train.graph = "off";
  job.train.bucket_mb = 0.0003;  // several buckets
  return job;
}

std::vector<FakeTrace> trace_ranks(int ranks, const JobSettings& job) {
  GradientPool::install();
  const FakeNccl fake;
  std::vector<FakeTrace> traces(static_cast<std::size_t>(ranks));
  const auto endings = run_threads(ranks, [&](LocalGroup& group) {
    at::set_num_threads(1);
    NodeCommunicator world(group);
    const auto across = solo_communicator();
    NcclCommunicator nccl(nccl_table, cuda_table, world, {});
    AtOnce device(nccl);
    const DataSets data = open_data(job.data, group);
    const auto model = make_model(job.model, data.train->shape(), job.train.seed);
    const auto gpu = host_gpu();
    Listener silent;
    Trainer trainer(job,
                    {.model = *model,
                     .train = *data.train,
                     .ranks = {group, *across, world},
                     .gpu = {.gpu = gpu.get(), .device = &device}},
                    silent);
    FakeNccl::trace_into(&traces[static_cast<std::size_t>(group.rank())]);
    trainer.run_steps(2);
    FakeNccl::trace_into(nullptr);
    group.barrier();
  });
  for (const auto& ending : endings) {
    EXPECT_EQ(ending, "");
  }
  return traces;
}

std::vector<std::string> operations(const FakeTrace& trace) {
  std::vector<std::string> list;
  for (const FakeCall& call : trace) {
    if (call.kind == FakeCall::Kind::operation) {
      list.push_back(call.text);
    }
  }
  return list;
}

TEST(GpuExchange, CallsNcclInOneOrderOnAllRanks) {
  for (const bool is_sharded : {false, true}) {
    JobSettings job = job_of();
    job.train.shard_optimizer = is_sharded;
    const auto traces = trace_ranks(3, job);
    const auto first = operations(traces[0]);
    for (const FakeTrace& other : traces) {
      EXPECT_EQ(operations(other), first);
    }
    EXPECT_GE(first.size(), 6U) << "several buckets in each of two steps";
    const std::size_t half = first.size() / 2;
    EXPECT_EQ(std::vector(first.begin(), first.begin() + static_cast<std::ptrdiff_t>(half)),
              std::vector(first.begin() + static_cast<std::ptrdiff_t>(half), first.end()))
        << "every step the same";
    EXPECT_THAT(first[0], HasSubstr(is_sharded ? "reduce_scatter" : "all_reduce"));
    EXPECT_THAT(first[half - 1], HasSubstr(is_sharded ? "all_gather" : "all_reduce 1 "));
  }
}

/// Each bucket: the exchange waits for what compute packed, and compute waits for the exchange.
TEST(GpuExchange, EveryBucketHasAnEventEachWay) {
  const auto traces = trace_ranks(2, job_of());
  const FakeTrace& trace = traces[0];
  std::size_t seen = 0;
  for (std::size_t i = 0; i < trace.size(); ++i) {
    if (trace[i].kind != FakeCall::Kind::operation) {
      continue;
    }
    ++seen;
    ASSERT_GE(i, 2U);
    EXPECT_EQ(trace[i - 2].kind, FakeCall::Kind::record);
    EXPECT_EQ(trace[i - 2].stream, nullptr) << "what compute has queued";
    EXPECT_EQ(trace[i - 1].kind, FakeCall::Kind::wait);
    EXPECT_EQ(trace[i - 1].event, trace[i - 2].event);
    EXPECT_NE(trace[i - 1].stream, nullptr);
    const nccl::Event done = trace[i + 1].event;
    EXPECT_EQ(trace[i + 1].kind, FakeCall::Kind::record);
    EXPECT_EQ(trace[i + 1].stream, trace[i - 1].stream);
    const bool compute_waits = std::any_of(
        trace.begin() + static_cast<std::ptrdiff_t>(i), trace.end(), [&](const FakeCall& call) {
          return call.kind == FakeCall::Kind::wait && call.event == done && call.stream == nullptr;
        });
    EXPECT_TRUE(compute_waits) << trace[i].text;
  }
  EXPECT_GT(seen, 4U);
}

}  // namespace
}  // namespace muster::test
