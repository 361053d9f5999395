// SPDX-License-Identifier: Apache-2.0
#include "runtime/model/batch_norm.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <barrier>
#include <thread>

#include "runtime/base/error.h"
#include "runtime/config/model_settings.h"
#include "runtime/gpu/host_gpu.h"
#include "runtime/model/gpu_ops.h"

namespace muster {
namespace {

using testing::HasSubstr;
using testing::Not;

/// What a pass over some samples gave: outputs and gradients.
struct Outcome {
  at::Tensor output, input_gradient, weight_gradient, bias_gradient;
  BatchStatistics statistics;
};

at::Tensor wave(at::IntArrayRef sizes, double pace) {
  std::int64_t count = 1;
  for (const auto size : sizes) {
    count *= size;
  }
  return at::arange(count, at::kFloat).reshape(sizes).mul(pace).sin();
}

Outcome run(const at::Tensor& input, const at::Tensor& upstream, ChannelReducer* reducer) {
  Outcome outcome;
  const at::Tensor x = input.clone().requires_grad_(true);
  const BatchNormTensors tensors{.weight = wave({3}, 1.3).requires_grad_(true),
                                 .bias = wave({3}, 0.7).requires_grad_(true),
                                 .running_mean = at::zeros({3}),
                                 .running_variance = at::zeros({3})};
  outcome.output =
      batch_norm("bn", x, tensors,
                 {.training = true, .statistics = &outcome.statistics, .synchronise = reducer});
  (outcome.output * upstream).sum().backward();
  outcome.input_gradient = x.grad();
  outcome.weight_gradient = tensors.weight.grad();
  outcome.bias_gradient = tensors.bias.grad();
  return outcome;
}

double distance(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

/// Ranks as threads: sums in rank order, each gets the same.
class ThreadReducer final : public ChannelReducer {
 public:
  struct Shared {
    explicit Shared(int ranks) : parts(static_cast<std::size_t>(ranks)), barrier(ranks) {}
    std::vector<std::vector<double>> parts;
    std::barrier<> barrier;
  };
  ThreadReducer(Shared& shared, std::size_t rank) : shared_(shared), rank_(rank) {}
  void sum(double* values, std::size_t count) override {
    shared_.parts[rank_].assign(values, values + count);
    shared_.barrier.arrive_and_wait();
    std::fill_n(values, count, 0.0);
    for (const auto& part : shared_.parts) {
      for (std::size_t i = 0; i < count; ++i) {
        values[i] += part[i];
      }
    }
    shared_.barrier.arrive_and_wait();
  }

 private:
  Shared& shared_;
  std::size_t rank_;
};

TEST(BatchNorm, LeavesItsStatisticsWithThePass) {
  const at::Tensor input = wave({4, 3, 2, 2}, 0.9);
  const Outcome outcome = run(input, wave({4, 3, 2, 2}, 0.4), nullptr);
  ASSERT_EQ(outcome.statistics.values.size(), 6U);
  const at::Tensor by_channel = input.transpose(0, 1).flatten(1);
  for (std::int64_t c = 0; c < 3; ++c) {
    EXPECT_NEAR(outcome.statistics.values[static_cast<std::size_t>(c)],
                by_channel[c].mean().item<double>(), 1e-6);
    EXPECT_NEAR(outcome.statistics.values[static_cast<std::size_t>(3 + c)],
                by_channel[c].var().item<double>(), 1e-5);
  }
}

TEST(SynchronisedBatchNorm, OverRanksEqualsOneRankWithAllSamples) {
  const at::Tensor input = wave({7, 3, 2, 2}, 0.9);
  const at::Tensor upstream = wave({7, 3, 2, 2}, 0.4);
  const Outcome whole = run(input, upstream, nullptr);
  for (const std::vector<std::int64_t>& cut : {std::vector<std::int64_t>{7}, {4, 3}, {5, 2, 0}}) {
    ThreadReducer::Shared shared(static_cast<int>(cut.size()));
    std::vector<Outcome> parts(cut.size());
    {
      std::vector<std::jthread> ranks;
      std::int64_t first = 0;
      for (std::size_t rank = 0; rank < cut.size(); ++rank) {
        ranks.emplace_back([&, rank, first] {
          ThreadReducer reducer(shared, rank);
          parts[rank] = run(input.narrow(0, first, cut[rank]), upstream.narrow(0, first, cut[rank]),
                            &reducer);
        });
        first += cut[rank];
      }
    }
    std::vector<at::Tensor> outputs, gradients;
    at::Tensor weight = at::zeros({3}), bias = at::zeros({3});
    for (const Outcome& part : parts) {
      outputs.push_back(part.output);
      gradients.push_back(part.input_gradient);
      weight = weight + part.weight_gradient;
      bias = bias + part.bias_gradient;
    }
    EXPECT_LT(distance(at::cat(outputs), whole.output), 1e-5);
    EXPECT_LT(distance(at::cat(gradients), whole.input_gradient), 1e-5);
    EXPECT_LT(distance(weight, whole.weight_gradient), 1e-5);
    EXPECT_LT(distance(bias, whole.bias_gradient), 1e-5);
    for (std::size_t i = 0; i < 6; ++i) {
      EXPECT_NEAR(parts[0].statistics.values[i], whole.statistics.values[i], 1e-5);
    }
  }
}

TEST(BatchNorm, RefusesOneValueAChannel) {
  const at::Tensor one = wave({1, 3, 1, 1}, 1);
  try {
    run(one, one, nullptr);
    FAIL() << "one value was normalised";
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::bad_input);
    EXPECT_THAT(error.what(), HasSubstr("batch norm bn has one value a channel on this rank"));
    EXPECT_THAT(error.what(), HasSubstr("model.batch_norm = synchronised"));
  }
  ThreadReducer::Shared alone(1);
  ThreadReducer reducer(alone, 0);
  EXPECT_THROW(run(one, one, &reducer), Error);
}

TEST(BatchNorm, RefusesOneValueAChannelOnAGpuToo) {
  const auto gpu = host_gpu();
  const GpuPass on_gpu{.gpu = gpu.get()};
  const BatchNormTensors tensors{.weight = at::zeros({3}),
                                 .bias = at::zeros({3}),
                                 .running_mean = at::zeros({3}),
                                 .running_variance = at::zeros({3})};
  const at::Tensor one = wave({1, 3, 1, 1}, 1);
  try {
    batch_norm("bn", one, tensors, {.training = true, .gpu = &on_gpu});
    FAIL() << "one value was normalised";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("batch norm bn has one value a channel on this rank"));
    EXPECT_THAT(error.what(), Not(HasSubstr("synchronised"))) << "which GPUs do not do";
  }
  EXPECT_NO_THROW(batch_norm("bn", one, tensors, {.gpu = &on_gpu})) << "evaluation";
}

TEST(BatchNorm, MovesItsRunningStatisticsWhenTold) {
  ModelSettings settings;
  settings.kind = "resnet18";
  settings.width = 4;
  const DataShape data{.features = {3, 8, 8}, .label_shape = {}, .classes = 2};
  const auto model = make_model(settings, data, 1);
  BatchStatistics statistics;
  (void)model->forward(wave({2, 3, 8, 8}, 0.1), {.training = true, .statistics = &statistics});
  const at::Tensor mean = model->buffers()[0].tensor;
  const at::Tensor variance = model->buffers()[1].tensor;
  EXPECT_EQ(mean.abs().max().item<double>(), 0);  // not by the pass
  model->advance_statistics(statistics);
  EXPECT_FLOAT_EQ(mean[1].item<float>(), 0.1F * statistics.values[1]);
  EXPECT_FLOAT_EQ(variance[0].item<float>(), 0.9F + 0.1F * statistics.values[4]);
  statistics.values.pop_back();
  EXPECT_THROW(model->advance_statistics(statistics), Error);
}

}  // namespace
}  // namespace muster
