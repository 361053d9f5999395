// A step that is not finite moves nothing.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <torch/script.h>

#include "tests/data/data_files.h"
#include "tests/gpu/stand_in.h"

namespace muster::test {
namespace {

TEST(GpuTraining, LeavesOutAStepThatIsNotFinite) {
  JobSettings job = mlp_job();
  job.optimizer.lr = 1e30;
  job.train.on_nan = "skip";
  const Trained trained = run(job, 1, true);
  EXPECT_THAT(trained.remarks, Contains(HasSubstr("is left out (train.on_nan = skip)")));
  job.train.on_nan = "stop";
  GradientPool::install();
  const auto endings =
      run_threads(1, [&](LocalGroup& group) { run_rank(job, group, true, 3, {}); });
  EXPECT_THAT(endings[0], HasSubstr("is not finite"));
}

class SkippedStep : public DataFiles {
 protected:
  /// Five batches an epoch, of which one has an image that overflows.
  JobSettings job() {
    std::vector<float> pixels(std::size_t{40} * 3 * 8 * 8);
    for (std::size_t i = 0; i < pixels.size(); ++i) {
      pixels[i] = static_cast<float>(i * 7919 % 101) / 101;
    }
    std::fill_n(pixels.begin(), 3 * 8 * 8, 3e38F);
    std::vector<std::int64_t> labels(40);
    for (std::size_t i = 0; i < labels.size(); ++i) {
      labels[i] = static_cast<std::int64_t>(i % 4);
    }
    const auto bytes = [](const auto& values) {
      return std::string(reinterpret_cast<const char*>(values.data()),
                         values.size() * sizeof values[0]);
    };
    JobSettings job = mlp_job();
    job.data = {};
    job.data.format = "npy";
    job.data.path = write("images.npy", npy("<f4", "40, 3, 8, 8", bytes(pixels)));
    job.data.labels = write("labels.npy", npy("<i8", "40,", bytes(labels)));
    job.model = {};
    job.model.kind = "resnet18";
    job.model.width = 8;
    job.model.channels_last = true;
    job.optimizer.lr = 1e-3;  // differences of the last digit do not grow
    job.optimizer.momentum = 0;
    job.train.batch_size = 8;
    job.train.on_nan = "skip";
    return job;
  }
};

TEST_F(SkippedStep, MovesNoRunningStatistics) {
  JobSettings skipping = job();
  for (const bool is_last : {true, false}) {  // by our own kernels, and by torch's
    skipping.model.channels_last = is_last;
    const Trained cpu = run(skipping, 1, false);
    const Trained gpu = run(skipping, 1, true);
    EXPECT_THAT(gpu.remarks, Contains(HasSubstr("is left out (train.on_nan = skip)")));
    ASSERT_EQ(gpu.buffers.size(), cpu.buffers.size());
    for (std::size_t i = 0; i < cpu.buffers.size(); ++i) {
      EXPECT_NEAR(gpu.buffers[i], cpu.buffers[i], 1e-3 * (1 + std::abs(cpu.buffers[i]))) << i;
    }
  }
  skipping.train.accumulate = 2;
  EXPECT_THAT(run(skipping, 2, true).buffers, testing::Each(testing::Truly(is_number)));
}

/// Whether steps are short is known after 64 of them.
TEST_F(SkippedStep, MovesNothingInAGraphOfSeveral) {
  JobSettings skipping = job();
  skipping.train.short_ms = 1e6;
  const Trained single = run(skipping, 1, true, 18);
  skipping.train.graph_steps = 3;
  const Trained blocks = run(skipping, 1, true, 18);
  EXPECT_EQ(blocks.mode, "graph of 3 steps");
  EXPECT_THAT(blocks.buffers, testing::Each(testing::Truly(is_number)));
  EXPECT_EQ(single.buffers, blocks.buffers);
}

/// It counts its passes, as PyTorch's batch norm does, in a number of another type. Opening it was
/// one.
TEST_F(SkippedStep, LeavesTheBuffersOfAScriptAlone) {
  torch::jit::Module module("model");
  module.register_parameter("weight", at::ones({4, 192}) * 0.01, false);
  module.register_buffer("odd", at::zeros({3}, at::kBool));
  module.register_buffer("mean", at::zeros({3}));
  module.register_buffer("variance", at::ones({3}));
  module.register_buffer("passes", at::zeros({}, at::kLong));
  module.define(
      "def forward(self, x):\n"
      "    self.passes.add_(1)\n"
      "    y = torch.batch_norm(x, None, None, self.mean, self.variance, True, 0.1, 1e-5, False)\n"
      "    return torch.linear(torch.flatten(x + y, 1), self.weight)\n");
  JobSettings skipping = job();
  skipping.model.kind = "torchscript";
  skipping.model.file = (root_ / "model.pt").string();
  module.save(skipping.model.file);
  for (const bool on_gpu : {false, true}) {
    const auto buffers = run(skipping, 1, on_gpu).buffers;
    EXPECT_THAT(buffers, testing::Each(testing::Truly(is_number))) << on_gpu;
    EXPECT_EQ(buffers.back(), 1 + 3 * 4) << on_gpu;
  }
}

}  // namespace
}  // namespace muster::test
