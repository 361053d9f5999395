// SPDX-License-Identifier: Apache-2.0
#include "runtime/model/model.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "runtime/base/error.h"
#include "runtime/config/model_settings.h"
#include "runtime/model/autocast.h"
#include "runtime/model/built_in.h"

namespace muster {
namespace {

using testing::HasSubstr;

DataShape images(std::int64_t channels, std::int64_t side, std::int64_t classes) {
  return {.features = {channels, side, side}, .label_shape = {}, .classes = classes};
}

DataShape tokens(std::int64_t context, std::int64_t vocabulary) {
  return {.features = {context},
          .feature_type = DType::int64,
          .labels = DataShape::Labels::tokens,
          .label_shape = {context},
          .classes = vocabulary};
}

ModelSettings of_kind(const std::string& kind) {
  ModelSettings settings;
  settings.kind = kind;
  return settings;
}

std::string sentence(const ModelSettings& settings, const DataShape& data) {
  try {
    make_model(settings, data, 1);
    return "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::bad_input);
    return error.what();
  }
}

at::Tensor ramp(at::IntArrayRef sizes) {
  std::int64_t count = 1;
  for (const auto size : sizes) {
    count *= size;
  }
  return at::arange(count, at::kFloat).reshape(sizes).mul(0.37).sin();
}

TEST(Model, HasTheParametersOfThePublishedNetworks) {
  EXPECT_EQ(parameter_count(*make_model(of_kind("mlp"), images(1, 28, 10), 1)),
            784 * 128 + 128 + 128 * 10 + 10);
  EXPECT_EQ(parameter_count(*make_model(of_kind("resnet18"), images(3, 32, 10), 1)), 11173962);
  EXPECT_EQ(parameter_count(*make_model(of_kind("resnet18"), images(3, 224, 1000), 1)), 11689512);
  EXPECT_EQ(parameter_count(*make_model(of_kind("resnet50"), images(3, 224, 1000), 1)), 25557032);
  ModelSettings gpt =
      of_kind("gpt");  // GPT-2's own rule at a width that costs little: 12 w^2 + 13 w a block
  gpt.embedding = 64;
  gpt.heads = 4;
  gpt.depth = 3;
  EXPECT_EQ(parameter_count(*make_model(gpt, tokens(32, 100), 1)),
            100 * 64 + 32 * 64 + 3 * (12 * 64 * 64 + 13 * 64) + 2 * 64);
}

TEST(Model, StartsFromItsSeedAndNothingElse) {
  const auto first = make_model(of_kind("cnn"), images(1, 8, 10), 7);
  const auto again = make_model(of_kind("cnn"), images(1, 8, 10), 7);
  const auto other = make_model(of_kind("cnn"), images(1, 8, 10), 8);
  for (std::size_t i = 0; i < first->parameters().size(); ++i) {
    const at::Tensor& tensor = first->parameters()[i].tensor;
    EXPECT_TRUE(at::equal(tensor, again->parameters()[i].tensor));
    EXPECT_FALSE(at::equal(tensor, other->parameters()[i].tensor)) << first->parameters()[i].name;
    EXPECT_TRUE(tensor.is_leaf() && tensor.requires_grad());
  }
  EXPECT_EQ(first->fingerprint(), other->fingerprint());
  EXPECT_NE(first->fingerprint(), make_model(of_kind("cnn"), images(1, 8, 11), 7)->fingerprint());
}

TEST(Model, StartsInPyTorchsRanges) {
  const auto model = make_model(of_kind("mlp"), images(1, 28, 10), 1);
  const at::Tensor& weight = model->parameters()[0].tensor;
  const double bound = 1 / std::sqrt(784.0);
  EXPECT_LE(weight.abs().max().item<double>(), bound);
  EXPECT_GT(weight.abs().max().item<double>(), 0.999 * bound);
  EXPECT_NEAR(weight.mean().item<double>(), 0, 4 * bound / std::sqrt(3.0 * 784 * 128));
  EXPECT_NEAR(weight.std().item<double>(), bound / std::sqrt(3.0), 0.01 * bound);
  const auto resnet = make_model(of_kind("resnet18"), images(3, 32, 10), 1);
  const at::Tensor& kernel = resnet->parameters()[3].tensor;  // layer1.0.conv1
  EXPECT_EQ(resnet->parameters()[3].name, "layer1.0.conv1.weight");
  EXPECT_NEAR(kernel.std().item<double>(), std::sqrt(2.0 / (64 * 9)), 0.001);
}

TEST(Mlp, ComputesWhatItsMatricesSay) {
  ModelSettings settings = of_kind("mlp");
  settings.hidden = "3 2";
  const DataShape data{.features = {2}, .label_shape = {}, .classes = 2};
  const auto model = make_model(settings, data, 5);
  const std::vector<float> input{0.5F, -1.5F};
  std::vector<double> x(input.begin(), input.end());
  for (std::size_t layer = 0; layer < 3; ++layer) {
    const at::Tensor& weight = model->parameters()[2 * layer].tensor;
    const at::Tensor& bias = model->parameters()[2 * layer + 1].tensor;
    std::vector<double> y;
    for (std::int64_t row = 0; row < weight.size(0); ++row) {
      double sum = bias[row].item<double>();
      for (std::size_t column = 0; column < x.size(); ++column) {
        sum += weight[row][static_cast<std::int64_t>(column)].item<double>() * x[column];
      }
      y.push_back(layer < 2 ? std::max(sum, 0.0) : sum);
    }
    x = y;
  }
  const at::Tensor output = model->forward(at::tensor(input).reshape({1, 2}), {});
  EXPECT_NEAR(output[0][0].item<double>(), x[0], 1e-6);
  EXPECT_NEAR(output[0][1].item<double>(), x[1], 1e-6);
}

TEST(Model, FollowsItsParametersIntoAnArena) {
  const auto model = make_model(of_kind("linear"), images(1, 2, 2), 5);
  const at::Tensor before = model->forward(ramp({1, 1, 2, 2}), {}).detach();
  at::Tensor arena = at::full({16}, 0.0F);
  std::int64_t at = 0;
  for (const NamedTensor& each : model->parameters()) {
    at::Tensor view = arena.narrow(0, at, each.tensor.numel()).view(each.tensor.sizes());
    view.copy_(each.tensor.detach());
    each.tensor.set_data(view);
    at += each.tensor.numel();
  }
  EXPECT_TRUE(at::equal(model->forward(ramp({1, 1, 2, 2}), {}).detach(), before));
  arena.zero_();
  EXPECT_EQ(model->forward(ramp({1, 1, 2, 2}), {}).abs().max().item<double>(), 0);
}

TEST(Cnn, GivesTheSameWithChannelsLast) {
  ModelSettings settings = of_kind("cnn");
  const auto model = make_model(settings, images(3, 8, 10), 5);
  settings.channels_last = true;
  const auto last = make_model(settings, images(3, 8, 10), 5);
  EXPECT_TRUE(last->parameters()[0].channels_last);
  EXPECT_FALSE(model->parameters()[0].channels_last);
  const at::Tensor difference =
      model->forward(ramp({2, 3, 8, 8}), {}) - last->forward(ramp({2, 3, 8, 8}), {});
  EXPECT_LT(difference.abs().max().item<double>(), 1e-5);
}

TEST(ResNet, TakesTheStemThatFitsTheImage) {
  const auto small = make_model(of_kind("resnet18"), images(3, 32, 10), 1);
  EXPECT_EQ(small->parameters()[0].tensor.size(2), 3);
  const auto large = make_model(of_kind("resnet18"), images(3, 96, 10), 1);
  EXPECT_EQ(large->parameters()[0].tensor.size(2), 7);
  EXPECT_EQ(small->forward(ramp({2, 3, 32, 32}), {}).sizes(), (std::vector<std::int64_t>{2, 10}));
  EXPECT_EQ(large->forward(ramp({1, 3, 96, 96}), {}).sizes(), (std::vector<std::int64_t>{1, 10}));
}

TEST(Gpt, SeesOnlyWhatCameBefore) {
  ModelSettings settings = of_kind("gpt");
  settings.embedding = 16;
  settings.heads = 2;
  settings.depth = 2;
  const auto model = make_model(settings, tokens(6, 11), 3);
  const at::Tensor input = at::arange(6, at::kLong).reshape({1, 6});
  at::Tensor changed = input.clone();
  changed[0][4] = 9;
  const at::Tensor first = model->forward(input, {});
  const at::Tensor second = model->forward(changed, {});
  EXPECT_EQ(first.sizes(), (std::vector<std::int64_t>{1, 6, 11}));
  EXPECT_LT((first - second).narrow(1, 0, 4).abs().max().item<double>(), 1e-6);
  EXPECT_GT((first - second).narrow(1, 4, 2).abs().max().item<double>(), 1e-4);
}

TEST(Dropout, DrawsFromThePassAlone) {
  ModelSettings settings = of_kind("mlp");
  settings.dropout = 0.5;
  const auto model = make_model(settings, images(1, 8, 10), 1);
  const at::Tensor input = ramp({4, 1, 8, 8});
  auto run = [&](std::uint64_t key) {
    return model->forward(input, {.training = true, .random_key = key}).detach();
  };
  EXPECT_TRUE(at::equal(run(1), run(1)));
  EXPECT_FALSE(at::equal(run(1), run(2)));
  EXPECT_TRUE(at::equal(model->forward(input, {}), model->forward(input, {.random_key = 9})));
  EXPECT_TRUE(model->has_dropout());
}

TEST(Dropout, KeepsTheMeanAndItsShare) {
  const auto network = make_linear(of_kind("linear"), images(1, 2, 2), {});
  const at::Tensor kept =
      network->dropout(at::ones({200000}), 0.25, {.training = true, .random_key = 4}, 0);
  EXPECT_NEAR(kept.mean().item<double>(), 1, 0.01);
  EXPECT_NEAR(kept.eq(0).to(at::kFloat).mean().item<double>(), 0.25, 0.01);
}

TEST(Model, NamesUnitsThatStaySilent) {
  ModelSettings settings = of_kind("mlp");
  settings.hidden = "4";
  const auto model = make_model(settings, images(1, 2, 2), 1);
  at::Tensor bias = model->parameters()[1].tensor.detach();
  bias[2] = -100;
  model->watch_activity(true);
  (void)model->forward(ramp({8, 1, 2, 2}), {.training = true});
  ASSERT_EQ(model->activity().size(), 1U);
  EXPECT_EQ(model->activity()[0].layer, "layers.0");
  EXPECT_TRUE(model->activity()[0].silent[2]);
}

TEST(Autocast, ComputesInBfloat16AndLeavesNoTrace) {
  const auto model = make_model(of_kind("mlp"), images(1, 8, 10), 1);
  {
    const AutocastScope scope(true);
    EXPECT_EQ(model->forward(ramp({2, 1, 8, 8}), {}).scalar_type(), at::kBFloat16);
  }
  EXPECT_EQ(model->forward(ramp({2, 1, 8, 8}), {}).scalar_type(), at::kFloat);
}

TEST(Model, SaysWhyItDoesNotFitTheData) {
  const DataShape vectors{.features = {20}, .label_shape = {}, .classes = 2};
  EXPECT_THAT(
      sentence(of_kind("cnn"), vectors),
      HasSubstr(
          "model.kind = cnn takes images (channels, height, width), but the data has features 20"));
  EXPECT_THAT(sentence(of_kind("resnet18"), images(3, 4, 2)),
              HasSubstr("at least 8 x 8 pixels, the data has 4 x 4"));
  EXPECT_THAT(sentence(of_kind("gpt"), vectors), HasSubstr("takes tokens"));
  EXPECT_THAT(sentence(of_kind("mlp"), tokens(8, 9)),
              HasSubstr("the data holds tokens; use model.kind = gpt"));
  EXPECT_THAT(sentence(of_kind("resnet81"), vectors), HasSubstr("did you mean 'resnet18'?"));
  ModelSettings settings = of_kind("mlp");
  settings.hidden = "12 zwei";
  EXPECT_THAT(sentence(settings, vectors), HasSubstr("'zwei' is no width"));
  settings = of_kind("gpt");
  settings.heads = 7;
  EXPECT_THAT(sentence(settings, tokens(8, 9)), HasSubstr("must be a multiple of model.heads (7)"));
  settings.heads = 12;
  settings.context = 4;
  EXPECT_THAT(sentence(settings, tokens(8, 9)), HasSubstr("a sample of the data has 8 positions"));
}

}  // namespace
}  // namespace muster
