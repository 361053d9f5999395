// SPDX-License-Identifier: Apache-2.0
// The layers of gpu_ops on the stand-in, each beside torch's own in float64.
#include <ATen/TensorOperators.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/Reduction.h>
#include <ATen/ops/batch_norm.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/max_pool2d.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <thread>

#include "runtime/base/random.h"
#include "runtime/gpu/host_gpu.h"
#include "runtime/model/autocast.h"
#include "runtime/model/gpu_ops.h"
#include "runtime/model/random_fill.h"

namespace muster {
namespace {

double largest(const at::Tensor& tensor) {
  return tensor.numel() == 0 ? 0 : tensor.abs().max().item<double>();
}

/// A copy that gathers a gradient.
at::Tensor leaf(const at::Tensor& tensor) {
  return tensor.detach().clone().set_requires_grad(true);
}
at::Tensor exact_leaf(const at::Tensor& tensor) {
  return leaf(tensor.to(at::kDouble));
}

TEST(CrossEntropyKernel, GivesTorchsLossAndGradient) {
  const auto gpu = host_gpu();
  for (const double smoothing : {0.0, 0.1}) {
    for (const std::int64_t classes : {10, 1000, 1003}) {
      const at::Tensor logits = at::randn({37, classes}) * 5;
      at::Tensor labels = at::randint(0, classes, {37}, at::kLong);
      labels[5] = -100;  // left out
      const at::Tensor exact = exact_leaf(logits);
      const at::Tensor loss =
          at::cross_entropy_loss(exact, labels, std::nullopt, at::Reduction::Sum, -100, smoothing);
      loss.backward();
      at::Tensor own = logits.clone();
      const at::Tensor losses = at::empty({37});
      const at::Tensor seed = at::empty({1}).fill_(2);
      gpu_ops::cross_entropy(*gpu, own, labels, smoothing, 0.5, seed, losses);
      EXPECT_NEAR(losses.sum().item<double>(), 0.5 * loss.item<double>(),
                  1e-5 * std::abs(loss.item<double>()));
      EXPECT_LT(largest(own.to(at::kDouble) - exact.grad()), 1e-5) << classes;
    }
  }
}

TEST(CrossEntropyKernel, LosesNothingOnLogitsThatWouldOverflow) {
  const auto gpu = host_gpu();
  const at::Tensor logits = at::empty({1, 4}).fill_(-1000);
  logits.select(1, 2).fill_(1000);
  const at::Tensor labels = at::empty({1}, at::kLong).fill_(2);
  const at::Tensor losses = at::empty({1});
  gpu_ops::cross_entropy(*gpu, logits, labels, 0, 1, at::empty({1}).fill_(1), losses);
  EXPECT_EQ(losses.item<float>(), 0);
  EXPECT_EQ(largest(logits), 0);
}

TEST(Logits, OfAnyNumberOfClassesHaveTorchsGradients) {
  const auto gpu = host_gpu();
  for (const std::int64_t classes : {8, 13, 100}) {
    for (const bool in_place : {true, false}) {
      const at::Tensor x = leaf(at::randn({3, 5, 24}));
      const at::Tensor weight = leaf(at::randn({classes, 24}));
      const at::Tensor x2 = leaf(x);
      const at::Tensor weight2 = leaf(weight);
      const at::Tensor labels = at::randint(0, classes, {15}, at::kLong);
      const at::Tensor exact = at::linear(x2, weight2);
      at::cross_entropy_loss(exact.view({15, classes}), labels, std::nullopt, at::Reduction::Sum)
          .backward();

      const at::Tensor outputs = gpu_ops::logits(x, weight);
      EXPECT_LT(largest(outputs - exact), 1e-5);
      EXPECT_EQ(outputs.stride(1) % 8, 0) << classes;
      const at::Tensor flat = outputs.reshape({15, classes});
      EXPECT_EQ(flat.data_ptr(), outputs.data_ptr()) << "rows are copied";
      const at::Tensor gradient = in_place ? flat.detach() : flat.detach().clone();
      gpu_ops::cross_entropy(*gpu, gradient, labels, 0, 1, at::ones({1}), at::empty({15}));
      torch::autograd::backward({flat}, {gradient});
      EXPECT_LT(largest(x.grad() - x2.grad()), 1e-5) << classes;
      EXPECT_LT(largest(weight.grad() - weight2.grad()), 1e-5) << classes;
      EXPECT_TRUE(weight.grad().is_contiguous());
    }
  }
}

TEST(AddNormKernel, GivesTorchsValuesAndGradients) {
  const auto gpu = host_gpu();
  for (const bool adds : {true, false}) {
    const at::Tensor x = leaf(at::randn({5, 7, 48}));
    const at::Tensor r = adds ? leaf(at::randn({5, 7, 48})) : at::Tensor();
    const at::Tensor w = leaf(at::randn({48}));
    const at::Tensor b = leaf(at::randn({48}));
    const at::Tensor x_bias = adds ? leaf(at::randn({48})) : at::Tensor();
    const auto [sum, y] = gpu_ops::add_norm(*gpu, x, x_bias, r, w, b, 1e-5);
    const at::Tensor a1 = at::randn({5, 7, 48});
    const at::Tensor a2 = at::randn({5, 7, 48});
    (sum * a1 + y * a2).sum().backward();
    const at::Tensor x2 = exact_leaf(x);
    const at::Tensor r2 = adds ? exact_leaf(r) : at::Tensor();
    const at::Tensor w2 = exact_leaf(w);
    const at::Tensor b2 = exact_leaf(b);
    const at::Tensor x_bias2 = adds ? exact_leaf(x_bias) : at::Tensor();
    const at::Tensor sum2 = adds ? x2 + x_bias2 + r2 : x2 * 1;
    const at::Tensor y2 = at::layer_norm(sum2, {48}, w2, b2, 1e-5);
    (sum2 * a1 + y2 * a2).sum().backward();
    EXPECT_LT(largest(y.to(at::kDouble) - y2), 1e-5);
    EXPECT_LT(largest(x.grad() - x2.grad()), 2e-5);
    EXPECT_LT(largest(w.grad() - w2.grad()), 2e-5);
    EXPECT_LT(largest(b.grad() - b2.grad()), 2e-5);
    EXPECT_TRUE(!adds || largest(r.grad() - r2.grad()) < 2e-5);
    EXPECT_TRUE(!adds || largest(x_bias.grad() - x_bias2.grad()) < 1e-4);
  }
}

TEST(RectifiedLinear, GivesTorchsValuesAndGradients) {
  const auto gpu = host_gpu();
  for (const std::int64_t rows : {5, 1100}) {
    const at::Tensor x = leaf(at::randn({rows, 12}));
    const at::Tensor w = leaf(at::randn({7, 12}));
    const at::Tensor b = leaf(at::randn({7}));
    const at::Tensor a = at::randn({rows, 7});
    const at::Tensor y = gpu_ops::linear_relu(*gpu, x, w, b);
    (y * a).sum().backward();
    const at::Tensor x2 = exact_leaf(x);
    const at::Tensor w2 = exact_leaf(w);
    const at::Tensor b2 = exact_leaf(b);
    const at::Tensor y2 = at::relu(at::linear(x2, w2, b2));
    (y2 * a).sum().backward();
    EXPECT_LT(largest(y - y2), 1e-5);
    EXPECT_LT(largest(x.grad() - x2.grad()), 1e-5);
    EXPECT_LT(largest(w.grad() - w2.grad()), 1e-3);
    EXPECT_LT(largest(b.grad() - b2.grad()), 1e-3);
  }
}

TEST(RectifiedLinear, CutsOffNoNan) {
  const auto gpu = host_gpu();
  at::Tensor x = at::randn({6, 3});
  x.mutable_data_ptr<float>()[4] = NAN;  // of the second row
  const at::Tensor w = at::randn({5, 3}).set_requires_grad(true);
  const at::Tensor b = at::randn({5}).set_requires_grad(true);
  gpu_ops::linear_relu(*gpu, x, w, b).sum().backward();
  const at::Tensor b2 = b.detach().clone().set_requires_grad(true);
  at::relu(at::linear(x, w.detach(), b2)).sum().backward();
  EXPECT_EQ(largest(b.grad() - b2.grad()), 0);
}

/// Weights as GPT has them, rows of two dimensions; in parts of 256 rows.
TEST(LinearGelu, GivesTorchsValuesAndGradients) {
  const auto gpu = host_gpu();
  for (const std::int64_t rows : {5, 1100}) {
    const at::Tensor x = leaf(at::randn({rows, 2, 12}));
    const at::Tensor w = leaf(at::randn({12, 7}));
    const at::Tensor b = leaf(at::randn({7}));
    const at::Tensor a = at::randn({rows, 2, 7});
    const at::Tensor y = gpu_ops::linear_gelu(*gpu, x, w, b);
    (y * a).sum().backward();
    const at::Tensor x2 = exact_leaf(x);
    const at::Tensor w2 = exact_leaf(w);
    const at::Tensor b2 = exact_leaf(b);
    const at::Tensor y2 = at::gelu(at::linear(x2, w2.t(), b2), "tanh");
    (y2 * a).sum().backward();
    EXPECT_LT(largest(y - y2), 1e-5);
    EXPECT_LT(largest(x.grad() - x2.grad()), 2e-5);
    EXPECT_LT(largest(w.grad() - w2.grad()), 1e-3);
    EXPECT_LT(largest(b.grad() - b2.grad()), 1e-3);
  }
}

TEST(LinearSplit, GivesTorchsValuesAndGradients) {
  const auto gpu = host_gpu();
  for (const std::int64_t rows : {5, 1100}) {
    const at::Tensor x = leaf(at::randn({rows, 2, 12}));
    const at::Tensor w = leaf(at::randn({12, 15}));
    const at::Tensor b = leaf(at::randn({15}));
    const at::Tensor a = at::randn({rows, 2, 5});
    const auto y = gpu_ops::linear_split(*gpu, x, w, b);
    ((y[0] * y[1] / 50).exp() * y[2] * a).sum().backward();
    const at::Tensor x2 = exact_leaf(x);
    const at::Tensor w2 = exact_leaf(w);
    const at::Tensor b2 = exact_leaf(b);
    const auto y2 = at::linear(x2, w2.t(), b2).split(5, 2);
    ((y2[0] * y2[1] / 50).exp() * y2[2] * a).sum().backward();
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_LT(largest(y[i] - y2[i]), 1e-5);
    }
    const auto apart = [](const at::Tensor& one, const at::Tensor& other) {
      return (one.grad() - other.grad()).norm().item<double>() / other.grad().norm().item<double>();
    };
    EXPECT_LT(apart(x, x2), 1e-5);
    EXPECT_LT(apart(w, w2), 1e-5);
    EXPECT_LT(apart(b, b2), 1e-5);
  }
}

at::Tensor images(at::IntArrayRef sizes) {
  return at::randn(sizes).contiguous(at::MemoryFormat::ChannelsLast) * 2 + 3;
}

TEST(ImageNormKernel, GivesTorchsValuesGradientsAndStatistics) {
  const auto gpu = host_gpu();
  for (const bool adds : {true, false}) {
    const at::Tensor x = leaf(images({5, 12, 6, 7}));
    const at::Tensor r = adds ? leaf(images({5, 12, 6, 7}) - 3) : at::Tensor();
    const at::Tensor w = leaf(at::randn({12}));
    const at::Tensor b = leaf(at::randn({12}));
    const at::Tensor mean = at::zeros({12});
    const at::Tensor variance = at::ones({12});
    ASSERT_TRUE(gpu_ops::can_norm_images(x));
    const auto [y, again] = gpu_ops::image_norm(
        x, r, w, b,
        {.gpu = gpu.get(), .running_mean = mean, .running_variance = variance, .momentum = 0.3});
    const at::Tensor a = images({5, 12, 6, 7});
    const at::Tensor a2 = adds ? images({5, 12, 6, 7}) : at::zeros_like(a);
    (adds ? (y * a).sum() + (again * a2).sum() : (y * a).sum()).backward();
    const at::Tensor x2 = exact_leaf(x);
    const at::Tensor r2 = adds ? exact_leaf(r) : at::Tensor();
    const at::Tensor w2 = exact_leaf(w);
    const at::Tensor b2 = exact_leaf(b);
    const at::Tensor mean2 = at::zeros({12}, at::kDouble);
    const at::Tensor variance2 = at::ones({12}, at::kDouble);
    const at::Tensor normed = at::batch_norm(x2, w2, b2, mean2, variance2, true, 0.3, 1e-5, false);
    const at::Tensor y2 = at::relu(adds ? normed + r2 : normed);
    (y2 * (a + a2)).sum().backward();
    EXPECT_LT(largest(y - y2), 2e-5);
    EXPECT_LT(largest(x.grad() - x2.grad()), 2e-4);
    EXPECT_LT(largest(w.grad() - w2.grad()), 2e-3);
    EXPECT_LT(largest(b.grad() - b2.grad()), 2e-3);
    EXPECT_TRUE(!adds || largest(r.grad() - r2.grad()) < 1e-5);
    EXPECT_LT(largest(mean - mean2), 1e-5);
    EXPECT_LT(largest(variance - variance2), 1e-5);
  }
  EXPECT_FALSE(gpu_ops::can_norm_images(at::randn({2, 8, 4, 4}))) << "channels lie first";
  EXPECT_FALSE(gpu_ops::can_norm_images(images({2, 6, 4, 4}))) << "half an access";
  EXPECT_FALSE(gpu_ops::can_norm_images(images({1, 8, 1, 1}))) << "one value has no variance";
}

TEST(PoolKernel, GivesTorchsValuesAndGradients) {
  const auto gpu = host_gpu();
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    for (const std::int64_t side : {1, 2, 7, 8}) {
      const at::Tensor x = leaf(images({3, 16, side, 5}).to(type));
      const at::Tensor x2 = leaf(x);
      ASSERT_TRUE(gpu_ops::can_pool(x));
      const at::Tensor y = gpu_ops::max_pool(*gpu, x);
      const at::Tensor y2 = at::max_pool2d(x2, {3, 3}, {2, 2}, {1, 1});
      EXPECT_TRUE(y.equal(y2)) << side;
      EXPECT_TRUE(y.is_contiguous(at::MemoryFormat::ChannelsLast));
      const at::Tensor a = images(y.sizes()).to(type);
      (y * a).sum().backward();
      (y2 * a).sum().backward();
      EXPECT_LT(largest(x.grad() - x2.grad()), type == at::kFloat ? 1e-5 : 0.13) << side;
    }
  }
  EXPECT_FALSE(gpu_ops::can_pool(at::randn({2, 8, 4, 4}))) << "channels lie first";
  EXPECT_FALSE(gpu_ops::can_pool(images({2, 6, 4, 4}))) << "half an access";
}

TEST(ReluPool, GivesTorchsValuesAndGradients) {
  const auto gpu = host_gpu();
  for (const std::int64_t side : {2, 7, 8}) {
    const at::Tensor x = leaf(images({3, 16, side, 5}) - 3);
    const at::Tensor bias = leaf(at::randn({16}));
    const at::Tensor x2 = exact_leaf(x);
    const at::Tensor bias2 = exact_leaf(bias);
    const at::Tensor y = gpu_ops::relu_pool(*gpu, x, bias);
    const at::Tensor y2 = at::max_pool2d(at::relu(x2 + bias2.view({1, 16, 1, 1})), {2, 2});
    EXPECT_LT(largest(y - y2), 1e-6) << side;
    const at::Tensor a = images(y.sizes());
    (y * a).sum().backward();
    (y2 * a).sum().backward();
    EXPECT_LT(largest(x.grad() - x2.grad()), 1e-5) << side;
    EXPECT_LT(largest(bias.grad() - bias2.grad()), 1e-4) << side;
  }
}

TEST(ReluHead, GivesTorchsValuesAndGradients) {
  const auto gpu = host_gpu();
  for (const std::int64_t outputs : {1, 10, 16}) {
    const at::Tensor x = leaf(at::randn({37, 12}));
    const at::Tensor w = leaf(at::randn({20, 12}));
    const at::Tensor b = leaf(at::randn({20}));
    const at::Tensor head = leaf(at::randn({outputs, 20}));
    const at::Tensor head_bias = leaf(at::randn({outputs}));
    ASSERT_TRUE(gpu_ops::can_head(x, head));
    const at::Tensor y = gpu_ops::relu_head(*gpu, x, w, b, head, head_bias);
    const at::Tensor a = at::randn({37, outputs});
    (y * a).sum().backward();
    const std::vector<at::Tensor> found{x, w, b, head, head_bias};
    std::vector<at::Tensor> exact;
    for (const at::Tensor& each : found) {
      exact.push_back(exact_leaf(each));
    }
    const at::Tensor y2 =
        at::linear(at::relu(at::linear(exact[0], exact[1], exact[2])), exact[3], exact[4]);
    (y2 * a).sum().backward();
    EXPECT_LT(largest(y - y2), 1e-4);
    for (std::size_t i = 0; i < found.size(); ++i) {
      EXPECT_LT(largest(found[i].grad() - exact[i].grad()), 1e-3) << i << ' ' << outputs;
    }
  }
  EXPECT_FALSE(gpu_ops::can_head(at::randn({300, 4}), at::randn({2, 4}))) << "products do better";
  EXPECT_FALSE(gpu_ops::can_head(at::randn({3, 4}), at::randn({17, 4})));
}

TEST(PoolKernel, TakesTheFirstOfEqualValuesAndLosesNoNan) {
  const auto gpu = host_gpu();
  at::Tensor flat = at::zeros({1, 4, 4, 4}).contiguous(at::MemoryFormat::ChannelsLast);
  flat.select(1, 1).fill_(-INFINITY);
  flat.select(1, 2).select(1, 1).select(1, 1).fill_(NAN);
  const at::Tensor x = leaf(flat);
  const at::Tensor x2 = leaf(flat);
  const at::Tensor y = gpu_ops::max_pool(*gpu, x);
  const at::Tensor y2 = at::max_pool2d(x2, {3, 3}, {2, 2}, {1, 1});
  EXPECT_TRUE(y.isnan().equal(y2.isnan()));
  y.sum().backward();
  y2.sum().backward();
  EXPECT_TRUE(x.grad().equal(x2.grad()));
}

TEST(DropoutKernel, DrawsTheMaskThatTheCpuDraws) {
  const auto gpu = host_gpu();
  const StepState state{.step = 17};
  const GpuPass pass{.gpu = gpu.get(), .state = &state, .seed = 5, .lane = 2, .part = 1};
  const at::Tensor x = at::empty({3, 67}).fill_(1).set_requires_grad(true);
  const at::Tensor y = gpu_ops::dropout(pass, x, 0.3, 4);
  std::vector<float> mask(3 * 67);
  fill_dropout_mask(mask.data(), mask.size(), 0.3, mix(mix(mix(5, 17), 2, 1), 4));
  for (std::size_t i = 0; i < mask.size(); ++i) {
    EXPECT_EQ(y.const_data_ptr<float>()[i], mask[i]) << i;
  }
  y.sum().backward();
  EXPECT_EQ(largest(x.grad() - y.detach()), 0) << "backward draws it again";
}

TEST(Recomputed, GivesTheSameGradientsAndKeepsNothing) {
  const at::Tensor w = at::randn({8, 8}).set_requires_grad(true);
  const at::Tensor x = at::randn({4, 8}).set_requires_grad(true);
  const auto body = [&](const at::Tensor& in) { return (in.matmul(w)).tanh().matmul(w); };
  body(x).sum().backward();
  const at::Tensor of_w = w.grad().clone();
  const at::Tensor of_x = x.grad().clone();
  w.mutable_grad().reset();
  x.mutable_grad().reset();
  gpu_ops::recomputed(body, x * 1, {w}).sum().backward();
  EXPECT_LT(largest(of_w - w.grad()), 1e-6);
  EXPECT_LT(largest(of_x - x.grad()), 1e-6);
}

TEST(Recomputed, TrainsItsParametersWhereTheInputIsNotTrained) {
  const at::Tensor w = at::randn({8, 8}).set_requires_grad(true);
  const at::Tensor frozen = at::randn({8, 8});
  const at::Tensor x = at::randn({4, 8});
  int runs = 0;
  const auto body = [&](const at::Tensor& in) {
    EXPECT_FALSE(in.requires_grad()) << "a gradient that nobody asks for";
    ++runs;
    return in.matmul(frozen).tanh().matmul(w);
  };
  body(x).sum().backward();
  const at::Tensor of_w = w.grad().clone();
  w.mutable_grad().reset();
  gpu_ops::recomputed(body, x, {frozen, w}).sum().backward();
  ASSERT_TRUE(w.grad().defined());
  EXPECT_LT(largest(of_w - w.grad()), 1e-6);
  w.set_requires_grad(false);
  runs = 0;
  EXPECT_FALSE(gpu_ops::recomputed(body, x, {frozen, w}).requires_grad());
  EXPECT_EQ(runs, 1);
}

/// On a card backward runs in a thread of torch's own, whose autocast was never told the type.
TEST(Recomputed, RunsInTheSamePrecisionInWhateverThreadBackwardRuns) {
  const at::Tensor w = at::randn({8, 8}).set_requires_grad(true);
  const at::Tensor x = at::randn({4, 8}).set_requires_grad(true);
  std::vector<at::ScalarType> types;
  const auto body = [&](const at::Tensor& in) {
    const at::Tensor product = in.matmul(w);
    types.push_back(product.scalar_type());
    return product.to(at::kFloat);
  };
  at::Tensor y;
  {
    const AutocastScope half(true, at::kCPU, at::kHalf);
    y = gpu_ops::recomputed(body, x * 1, {w}).sum();
  }
  std::thread([&] { torch::autograd::backward({y}, {at::ones_like(y)}); }).join();
  EXPECT_THAT(types, testing::ElementsAre(at::kHalf, at::kHalf));
  EXPECT_EQ(at::autocast::get_autocast_dtype(at::kCPU), at::kBFloat16) << "as it was";
}

}  // namespace
}  // namespace muster
