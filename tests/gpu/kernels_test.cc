// SPDX-License-Identifier: Apache-2.0
#include <ATen/TensorOperators.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/Reduction.h>
#include <ATen/ops/batch_norm.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/zeros.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <limits>
#include <ostream>
#include <thread>

#include "runtime/base/random.h"
#include "runtime/data/order.h"
#include "runtime/gpu/host_gpu.h"
#include "runtime/gpu/host_kernels.h"
#include "runtime/gpu/small_floats.h"
#include "runtime/model/autocast.h"
#include "runtime/model/gpu_ops.h"
#include "runtime/model/random_fill.h"

namespace muster {
namespace {

double largest(const at::Tensor& tensor) {
  return tensor.numel() == 0 ? 0 : tensor.abs().max().item<double>();
}

TEST(SmallFloats, RoundAsTorchDoes) {
  Random random(1);
  for (int i = 0; i < 200000; ++i) {
    const auto value = float_of(static_cast<std::uint32_t>(random()));
    Bf16 bf16{};
    F16 f16{};
    from_float(value, bf16);
    from_float(value, f16);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(to_float(bf16)) && std::isnan(to_float(f16)));
      continue;
    }
    EXPECT_EQ(to_float(bf16), static_cast<float>(c10::BFloat16(value))) << value;
    EXPECT_EQ(to_float(f16), static_cast<float>(c10::Half(value))) << value;
  }
}

TEST(SmallFloats, EveryHalfSurvivesTheRoundTrip) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const F16 half{static_cast<std::uint16_t>(bits)};
    const float value = to_float(half);
    EXPECT_TRUE(std::isnan(value) ||
                value == static_cast<float>(c10::Half(half.bits, c10::Half::from_bits())));
    F16 back{};
    from_float(value, back);
    EXPECT_TRUE(std::isnan(value) || back.bits == half.bits) << bits;
  }
}

/// A shard of two chunks, stepped a few times, against the rules in double.
class Flat {
 public:
  static constexpr std::size_t count = 1003;
  Flat() {
    Random random(5);
    for (std::size_t i = 0; i < count; ++i) {
      parameters.push_back(static_cast<float>(random.normal()));
      gradients.push_back(static_cast<float>(random.normal()));
    }
    exact.assign(parameters.begin(), parameters.end());
  }
  std::vector<Chunk> chunks{{.at = 0, .state_at = 0, .count = 512, .rate_factor = 0.5F},
                            {.at = 512, .state_at = 512, .count = count - 512, .decays = 0}};
  std::vector<float> parameters;
  std::vector<float> gradients;
  std::vector<float> first = std::vector<float>(count);
  std::vector<float> second = std::vector<float>(count);
  std::vector<double> exact;
  std::vector<double> exact_first = std::vector<double>(count);
  std::vector<double> exact_second = std::vector<double>(count);
};

struct Rule {
  const char* name;
  UpdateJob::Kind kind;
};
void PrintTo(const Rule& rule, std::ostream* out) {
  *out << rule.name;
}

class UpdateKernel : public testing::TestWithParam<Rule> {};

void step_exactly(Flat& flat, UpdateJob::Kind kind, double rate, double factor, double t) {
  using Kind = UpdateJob::Kind;
  for (std::size_t i = 0; i < Flat::count; ++i) {
    const bool is_first = i < 512;
    const double own = rate * (is_first ? 0.5 : 1.0);
    const double decay = is_first ? 0.1 : 0.0;
    double& p = flat.exact[i];
    double g = flat.gradients[i] * factor;
    double& m = flat.exact_first[i];
    double& v = flat.exact_second[i];
    if (kind == Kind::adamw) {
      p *= 1 - own * decay;
    } else {
      g += decay * p;
    }
    if (kind == Kind::adam || kind == Kind::adamw) {
      m = 0.9 * m + 0.1 * g;
      v = 0.99 * v + 0.01 * g * g;
      p -= own * (m / (1 - std::pow(0.9, t))) / (std::sqrt(v / (1 - std::pow(0.99, t))) + 1e-8);
    } else if (kind == Kind::sgd) {
      p -= own * g;
    } else {
      m = 0.8 * m + g;
      p -= own * (kind == Kind::nesterov ? g + 0.8 * m : m);
    }
  }
}

TEST_P(UpdateKernel, FollowsItsRuleWithClipAndScale) {
  Flat flat;
  const auto kind = GetParam().kind;
  double squares = 0;
  for (const float g : flat.gradients) {
    squares += static_cast<double>(g) * g;
  }
  const double norm = std::sqrt(squares) / 4;  // the loss was multiplied by 4
  StepState state{.loss_scale = 4};
  StepNotes notes{.loss = 1, .squares = squares};
  std::vector<StepResult> results(2);
  const std::vector<float> rates{0.01F, 0.02F, 0.03F};
  for (int t = 1; t <= 3; ++t) {
    host_kernels::run(DecideJob{.state = &state,
                                .notes = &notes,
                                .results = results.data(),
                                .result_count = results.size(),
                                .rates = rates.data(),
                                .rate_count = rates.size(),
                                .clip_norm = 2,
                                .beta1 = 0.9,
                                .beta2 = 0.99});
    host_kernels::run(UpdateJob{.kind = kind,
                                .state = &state,
                                .chunks = flat.chunks.data(),
                                .chunk_count = flat.chunks.size(),
                                .gradients = flat.gradients.data(),
                                .parameters = flat.parameters.data(),
                                .slots = {flat.first.data(), flat.second.data()},
                                .momentum = 0.8F,
                                .beta1 = 0.9F,
                                .beta2 = 0.99F,
                                .decay = 0.1F});
    step_exactly(flat, kind, rates[static_cast<std::size_t>(t) - 1],
                 0.25 * std::min(1.0, 2 / (norm + 1e-6)), t);
  }
  EXPECT_NEAR(results[0].norm, norm, 1e-9);
  EXPECT_EQ(results[0].step, 3U);
  for (std::size_t i = 0; i < Flat::count; ++i) {
    EXPECT_NEAR(flat.parameters[i], flat.exact[i], 2e-6) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Rules, UpdateKernel,
                         testing::Values(Rule{"sgd", UpdateJob::Kind::sgd},
                                         Rule{"momentum", UpdateJob::Kind::momentum},
                                         Rule{"nesterov", UpdateJob::Kind::nesterov},
                                         Rule{"adam", UpdateJob::Kind::adam},
                                         Rule{"adamw", UpdateJob::Kind::adamw}),
                         [](const auto& each) { return std::string(each.param.name); });

TEST(DecideKernel, HalvesTheScaleAndSkipsWhereAGradientIsNotFinite) {
  StepState state{.loss_scale = 1024};
  StepNotes notes{.loss = 0.5, .squares = std::numeric_limits<double>::infinity()};
  std::vector<StepResult> results(1);
  const float rate = 0.1F;
  DecideJob job{.state = &state,
                .notes = &notes,
                .results = results.data(),
                .rates = &rate,
                .scales_loss = true,
                .growth_every = 3};
  host_kernels::run(job);
  EXPECT_EQ(state.loss_scale, 512);
  EXPECT_EQ(state.skips, 1U);
  EXPECT_EQ(state.updates, 0U);
  EXPECT_EQ(results[0].skipped, 1U);
  EXPECT_EQ(results[0].loss_scale, 1024);
  notes.squares = 4;
  for (int i = 0; i < 3; ++i) {
    host_kernels::run(job);
    EXPECT_EQ(state.skips, 0U);
  }
  EXPECT_EQ(state.loss_scale, 1024) << "three good steps double it";
  EXPECT_EQ(state.updates, 3U);
  notes.loss = std::numeric_limits<double>::quiet_NaN();
  host_kernels::run(job);
  EXPECT_EQ(state.skips, 1U) << "a loss that is no number skips as well";
}

TEST(UpdateKernel, ASkippedStepChangesNothing) {
  Flat flat;
  const std::vector<float> before = flat.parameters;
  const StepState state{.rate = 0.1F, .skips = 1};
  host_kernels::run(UpdateJob{.state = &state,
                              .chunks = flat.chunks.data(),
                              .chunk_count = flat.chunks.size(),
                              .gradients = flat.gradients.data(),
                              .parameters = flat.parameters.data()});
  EXPECT_EQ(flat.parameters, before);
}

TEST(PackKernel, ConvertsAddsAndFillsWithZeros) {
  const std::vector<float> a{1, 2, 3};
  const std::vector<PackPiece> pieces{{.from = a.data(), .offset = 0, .count = 3},
                                      {.from = nullptr, .offset = 4, .count = 2}};
  const std::vector<float> add{10, 20, 30, 0, 40, 50};
  std::vector<Bf16> to(6, Bf16{0x7fff});
  host_kernels::run(
      PackJob{.pieces = pieces, .to = to.data(), .to_type = DType::bfloat16, .add = add.data()});
  EXPECT_EQ(to_float(to[2]), 33);
  EXPECT_EQ(to_float(to[4]), 40);
  EXPECT_EQ(to[3].bits, 0x7fff) << "a gap is nobody's";
}

TEST(NormKernel, SumsSquaresAndLosses) {
  Flat flat;
  std::vector<double> partial(4);
  const std::vector<float> losses{1, 2, 3};
  StepNotes notes;
  host_kernels::run(NormJob{.gradients = flat.gradients.data(),
                            .chunks = flat.chunks.data(),
                            .chunk_count = 2,
                            .partial = partial.data(),
                            .losses = losses.data(),
                            .loss_count = 3,
                            .loss_factor = 0.5,
                            .notes = &notes});
  double squares = 0;
  for (const float g : flat.gradients) {
    squares += static_cast<double>(g) * g;
  }
  EXPECT_NEAR(notes.squares, squares, 1e-9);
  EXPECT_EQ(notes.loss, 3);
}

TEST(CrossEntropyKernel, GivesTorchsLossAndGradient) {
  const auto gpu = host_gpu();
  for (const double smoothing : {0.0, 0.1}) {
    for (const std::int64_t classes : {10, 1000, 1003}) {
      const at::Tensor logits = at::randn({37, classes}) * 5;
      at::Tensor labels = at::randint(0, classes, {37}, at::kLong);
      labels[5] = -100;  // left out
      const at::Tensor exact = logits.to(at::kDouble).set_requires_grad(true);
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
      const auto leaf = [](const at::Tensor& t) {
        return t.detach().clone().set_requires_grad(true);
      };
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
    const auto leaf = [](at::Tensor t) { return t.set_requires_grad(true); };
    const at::Tensor x = leaf(at::randn({5, 7, 48}));
    const at::Tensor r = adds ? leaf(at::randn({5, 7, 48})) : at::Tensor();
    const at::Tensor w = leaf(at::randn({48}));
    const at::Tensor b = leaf(at::randn({48}));
    const at::Tensor x_bias = adds ? leaf(at::randn({48})) : at::Tensor();
    const auto [sum, y] = gpu_ops::add_norm(*gpu, x, x_bias, r, w, b, 1e-5);
    const at::Tensor a1 = at::randn({5, 7, 48});
    const at::Tensor a2 = at::randn({5, 7, 48});
    (sum * a1 + y * a2).sum().backward();
    const auto exact = [&](const at::Tensor& t) { return leaf(t.detach().to(at::kDouble)); };
    const at::Tensor x2 = exact(x);
    const at::Tensor r2 = adds ? exact(r) : at::Tensor();
    const at::Tensor w2 = exact(w);
    const at::Tensor b2 = exact(b);
    const at::Tensor x_bias2 = adds ? exact(x_bias) : at::Tensor();
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
    const auto leaf = [](at::Tensor t) { return t.set_requires_grad(true); };
    const at::Tensor x = leaf(at::randn({rows, 12}));
    const at::Tensor w = leaf(at::randn({7, 12}));
    const at::Tensor b = leaf(at::randn({7}));
    const at::Tensor a = at::randn({rows, 7});
    const at::Tensor y = gpu_ops::linear_relu(*gpu, x, w, b);
    (y * a).sum().backward();
    const auto exact = [&](const at::Tensor& t) { return leaf(t.detach().to(at::kDouble)); };
    const at::Tensor x2 = exact(x);
    const at::Tensor w2 = exact(w);
    const at::Tensor b2 = exact(b);
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
    const auto leaf = [](at::Tensor t) { return t.set_requires_grad(true); };
    const at::Tensor x = leaf(at::randn({rows, 2, 12}));
    const at::Tensor w = leaf(at::randn({12, 7}));
    const at::Tensor b = leaf(at::randn({7}));
    const at::Tensor a = at::randn({rows, 2, 7});
    const at::Tensor y = gpu_ops::linear_gelu(*gpu, x, w, b);
    (y * a).sum().backward();
    const auto exact = [&](const at::Tensor& t) { return leaf(t.detach().to(at::kDouble)); };
    const at::Tensor x2 = exact(x);
    const at::Tensor w2 = exact(w);
    const at::Tensor b2 = exact(b);
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
    const auto leaf = [](at::Tensor t) { return t.set_requires_grad(true); };
    const at::Tensor x = leaf(at::randn({rows, 2, 12}));
    const at::Tensor w = leaf(at::randn({12, 15}));
    const at::Tensor b = leaf(at::randn({15}));
    const at::Tensor a = at::randn({rows, 2, 5});
    const auto y = gpu_ops::linear_split(*gpu, x, w, b);
    ((y[0] * y[1] / 50).exp() * y[2] * a).sum().backward();
    const auto exact = [&](const at::Tensor& t) { return leaf(t.detach().to(at::kDouble)); };
    const at::Tensor x2 = exact(x);
    const at::Tensor w2 = exact(w);
    const at::Tensor b2 = exact(b);
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
    const auto leaf = [](at::Tensor t) { return t.set_requires_grad(true); };
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
    const auto exact = [&](const at::Tensor& t) { return leaf(t.detach().to(at::kDouble)); };
    const at::Tensor x2 = exact(x);
    const at::Tensor r2 = adds ? exact(r) : at::Tensor();
    const at::Tensor w2 = exact(w);
    const at::Tensor b2 = exact(b);
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
  gpu_ops::recomputed(body, x * 1).sum().backward();
  EXPECT_LT(largest(of_w - w.grad()), 1e-6);
  EXPECT_LT(largest(of_x - x.grad()), 1e-6);
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
    y = gpu_ops::recomputed(body, x * 1).sum();
  }
  std::thread([&] { torch::autograd::backward({y}, {at::ones_like(y)}); }).join();
  EXPECT_THAT(types, testing::ElementsAre(at::kHalf, at::kHalf));
  EXPECT_EQ(at::autocast::get_autocast_dtype(at::kCPU), at::kBFloat16) << "as it was";
}

TEST(GatherKernel, FollowsTheOrderAndTheStep) {
  std::vector<float> rows;
  for (int i = 0; i < 10; ++i) {
    rows.insert(rows.end(), {static_cast<float>(i), static_cast<float>(-i)});
  }
  const std::vector<std::uint32_t> order{9, 8, 7, 6, 5, 4, 3, 2, 1, 0};
  const StepState state{.step = 7};  // of five steps an epoch: the third
  std::vector<float> to(2);
  host_kernels::run(GatherJob{.state = &state,
                              .rows = rows.data(),
                              .order = order.data(),
                              .to = to.data(),
                              .row_bytes = 8,
                              .count = 1,
                              .steps_per_epoch = 5,
                              .batch = 2,
                              .first_part = 1});
  EXPECT_THAT(to, testing::ElementsAre(4, -4));
}

TEST(OrderKernel, IsTheOrderOfTheLoader) {
  for (const std::uint64_t rows : {1U, 2U, 5U, 1000U, 4097U}) {
    const SampleOrder exact(rows, 42, 7);
    std::vector<std::uint32_t> order(rows);
    host_kernels::run(OrderJob{.to = order.data(), .rows = rows, .key = exact.key()});
    for (std::size_t i = 0; i < rows; ++i) {
      ASSERT_EQ(order[i], exact(i)) << i << " of " << rows;
    }
  }
  std::vector<std::uint32_t> order(3);
  host_kernels::run(OrderJob{.to = order.data(), .rows = 3, .key = 1, .shuffles = false});
  EXPECT_THAT(order, testing::ElementsAre(0, 1, 2));
}

TEST(GatherKernel, ShiftsWithZerosAndMirrors) {
  constexpr std::uint32_t side = 6;
  std::vector<float> image(side * side);
  for (std::size_t i = 0; i < image.size(); ++i) {
    image[i] = static_cast<float>(i + 1);
  }
  const std::vector<std::uint32_t> order(64, 0);
  const StepState state{.step = 0};
  std::vector<float> to(64 * image.size());
  host_kernels::run(GatherJob{.state = &state,
                              .rows = image.data(),
                              .order = order.data(),
                              .to = to.data(),
                              .row_bytes = image.size() * 4,
                              .count = 64,
                              .batch = 64,
                              .channels = 1,
                              .height = side,
                              .width = side,
                              .crop_padding = 2,
                              .flips = true,
                              .seed = 3});
  std::size_t mirrored = 0;
  std::size_t whole = 0;
  for (std::size_t i = 0; i < 64; ++i) {
    const float* own = to.data() + i * image.size();
    const float left = own[2 * side + 2];
    const float right = own[2 * side + 3];
    EXPECT_EQ(std::abs(left - right), 1) << "neighbours stay neighbours";
    mirrored += right < left ? 1 : 0;
    whole += std::count(own, own + image.size(), 0.0F) == 0 ? 1 : 0;
  }
  EXPECT_GT(mirrored, 15U);
  EXPECT_LT(mirrored, 49U);
  EXPECT_LT(whole, 20U);
}

}  // namespace
}  // namespace muster
