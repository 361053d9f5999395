// Where the rows of a batch come from: sets that lie on the GPU, and those that are copied ahead.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <array>
#include <cstring>
#include <numeric>

#include "runtime/train/gpu_input.h"
#include "runtime/train/gpu_step.h"
#include "tests/data/data_files.h"
#include "tests/gpu/stand_in.h"

namespace muster::test {
namespace {

using testing::Contains;

TEST(GpuTraining, CopiedAheadEqualsResident) {
  const JobSettings job = large_set_job();
  std::vector<std::string> trace;
  const Trained resident = run(job, 1, true, 1, {.trace = &trace});
  EXPECT_THAT(trace, Contains("order")) << "of rows that are resident";
  trace.clear();
  const Trained streamed = run(job, 1, true, 1, {.memory = little_memory, .trace = &trace});
  EXPECT_THAT(trace, testing::Not(Contains("order")));
  EXPECT_EQ(resident.parameters, streamed.parameters);
  EXPECT_EQ(run(job, 2, true, 1).parameters,
            run(job, 2, true, 1, {.memory = little_memory}).parameters);
}

/// Who has it resident plays graphs of several steps, which the others would not.
TEST(GpuTraining, TheSetIsResidentOnAllRanksOrOnNone) {
  GradientPool::install();
  JobSettings job = large_set_job();
  job.train.graph_steps = 3;
  job.train.short_ms = 1e6;
  std::array<std::vector<std::string>, 2> traces;
  std::array<Trained, 2> trained;
  const auto endings = run_threads(2, [&](LocalGroup& group) {
    const auto rank = static_cast<std::size_t>(group.rank());
    HostGpuOptions options{.trace = &traces.at(rank)};
    if (rank == 1) {
      options.memory = little_memory;
    }
    trained.at(rank) = run_rank(job, group, true, 1, options);
  });
  EXPECT_THAT(endings, testing::Each(""));
  for (const auto& trace : traces) {
    EXPECT_THAT(trace, testing::Not(Contains("order")));
  }
  EXPECT_EQ(trained[0].mode, "graph of one step");
  EXPECT_EQ(trained[0].parameters, trained[1].parameters);
}

TEST(GpuTraining, SeveralTrialsShareOneCopyOfTheSet) {
  const JobSettings job = mlp_job();
  const auto solo = solo_node_group();
  const DataSets data = open_data(job.data, *solo);
  const auto gpu = host_gpu();
  ResidentSets sets;
  const auto first = sets.get(*data.train, *gpu);
  const auto second = sets.get(*data.train, *gpu);
  EXPECT_EQ(first, second);
  EXPECT_EQ(gpu->lane_bytes(), 0U) << "what all trials use is not what one of them takes";
}

/// With it on the GPU, less is free than it would need.
TEST(GpuTraining, ATrialUsesTheSetThatLiesThereHoweverLittleIsFree) {
  const JobSettings job = large_set_job();
  const auto solo = solo_node_group();
  const auto world = solo_communicator();
  const DataSets data = open_data(job.data, *solo);
  std::vector<std::string> trace;
  const auto gpu =
      host_gpu({.memory = 9 * ResidentSets::bytes_of(*data.train) / 2, .trace = &trace});
  ASSERT_TRUE(may_reside(*data.train, *gpu));
  ResidentSets sets;
  const auto first = sets.get(*data.train, *gpu);
  ASSERT_FALSE(may_reside(*data.train, *gpu));
  const auto model = make_model(job.model, data.train->shape(), 7);
  GpuStep step(*model, *data.train, Loss{}, {.gpu = gpu.get(), .residents = &sets}, *world,
               {.batch = 32}, [](const std::string& text) { FAIL() << text; });
  step.seek(0, 0);
  step.step(1, {});
  step.drain();
  EXPECT_THAT(trace, Contains("order"));
}

std::vector<float> features_of(const Dataset& data) {
  std::vector<std::uint64_t> rows(data.rows());
  std::iota(rows.begin(), rows.end(), 0);
  std::vector<float> features(rows.size() * data.shape().feature_bytes() / sizeof(float));
  std::vector<std::byte> labels(rows.size() * data.shape().label_bytes());
  data.gather(rows, std::as_writable_bytes(std::span(features)), labels);
  return features;
}

/// The rows of two splits are as many, of one table, and of one fingerprint.
TEST(GpuTraining, TrialsOfDifferentSplitsTrainOnTheirOwnRows) {
  JobSettings job = mlp_job();
  job.data.validation_fraction = 0.25;
  const auto solo = solo_node_group();
  const auto gpu = host_gpu();
  ResidentSets sets;
  std::vector<DataSets> kept;
  std::vector<std::shared_ptr<const ResidentSet>> resident;
  for (job.data.split_seed = 0; job.data.split_seed < 2; ++job.data.split_seed) {
    kept.push_back(open_data(job.data, *solo));
    resident.push_back(sets.get(*kept.back().train, *gpu));
    const std::vector<float> own = features_of(*kept.back().train);
    EXPECT_EQ(std::memcmp(resident.back()->features.get(), own.data(), own.size() * sizeof(float)),
              0)
        << "split " << job.data.split_seed;
  }
  EXPECT_EQ(sets.bytes(), 2 * ResidentSets::bytes_of(*kept[0].train));
}

/// A fingerprint looks at 64 rows; these differ in another.
TEST(GpuTraining, SetsWithOtherLabelsShareNoCopy) {
  const TemporaryDirectory folder;
  const auto file = [&](const std::string& name, const std::string& shape, std::string bytes) {
    write_file_atomically(folder.path() / name, npy("|u1", shape, bytes));
    return (folder.path() / name).string();
  };
  std::string classes(128, '\0');
  classes[2] = 1;
  JobSettings job = mlp_job();
  job.data = {.path = file("x.npy", "128, 4", std::string(512, 'x')),
              .labels = file("y.npy", "128,", classes)};
  const auto solo = solo_node_group();
  const DataSets first = open_data(job.data, *solo);
  classes[1] = 1;
  job.data.labels = file("z.npy", "128,", classes);
  const DataSets second = open_data(job.data, *solo);
  ASSERT_EQ(first.train->fingerprint(), second.train->fingerprint());
  const auto gpu = host_gpu();
  ResidentSets sets;
  const auto kept = sets.get(*first.train, *gpu);
  EXPECT_NE(sets.get(*second.train, *gpu), kept);
}

}  // namespace
}  // namespace muster::test
