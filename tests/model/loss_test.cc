// SPDX-License-Identifier: Apache-2.0
#include "runtime/model/loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "runtime/base/error.h"
#include "runtime/model/metrics.h"

namespace muster {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const DataShape ten_classes{.features = {4}, .label_shape = {}, .classes = 10};
const DataShape one_value{
    .features = {4}, .labels = DataShape::Labels::values, .label_shape = {}, .classes = 0};

at::Tensor classes(const std::vector<std::int64_t>& values) {
  return at::tensor(values);
}

double value_of(const std::string& word, const DataShape& data, const at::Tensor& outputs,
                const at::Tensor& labels) {
  const std::vector<std::string> words{word};
  auto metric = std::move(make_metrics(words, data)[0]);
  EXPECT_TRUE(std::isnan(metric->value()));
  metric->add(outputs, labels);
  return metric->value();
}

TEST(Loss, IsTheSumOfLogLosses) {
  const at::Tensor outputs = at::tensor(std::vector<float>{1, 2, 3, 0, 0, 0}).reshape({2, 3});
  const double first = std::log(std::exp(1) + std::exp(2) + std::exp(3)) - 3;
  EXPECT_NEAR(Loss{}.sum(outputs, classes({2, 1})).item<double>(), first + std::log(3.0), 1e-6);
}

TEST(Loss, SmoothsLabels) {
  const at::Tensor outputs = at::tensor(std::vector<float>{1, 2, 3}).reshape({1, 3});
  const double log_sum = std::log(std::exp(1) + std::exp(2) + std::exp(3));
  const double expected =
      0.9 * (log_sum - 3) + 0.1 * (log_sum - 2);  // a tenth spread evenly, whose mean logit is 2
  EXPECT_NEAR((Loss{.label_smoothing = 0.1}).sum(outputs, classes({2})).item<double>(), expected,
              1e-6);
}

TEST(Loss, OfTokensIsTheMeanOverPositions) {
  const at::Tensor outputs = at::tensor(std::vector<float>(2 * 4 * 5, 0.0F)).reshape({2, 4, 5});
  const at::Tensor labels = classes(std::vector<std::int64_t>(8, 3)).reshape({2, 4});
  EXPECT_NEAR(Loss{}.sum(outputs, labels).item<double>(), 2 * std::log(5.0), 1e-6);
}

TEST(Loss, JudgesValues) {
  const at::Tensor outputs = at::tensor(std::vector<float>{1, 2, 3, 4}).reshape({2, 2});
  const at::Tensor labels = at::tensor(std::vector<float>{0, 0, 1, 1}).reshape({2, 2});
  EXPECT_NEAR(Loss{.kind = LossKind::mse}.sum(outputs, labels).item<double>(),
              (1 + 4 + 4 + 9) / 2.0, 1e-6);
  EXPECT_NEAR(Loss{.kind = LossKind::mae}.sum(outputs, labels).item<double>(),
              (1 + 2 + 2 + 3) / 2.0, 1e-6);
  auto softplus = [](double x) { return std::log1p(std::exp(x)); };
  const double expected = (softplus(1) + softplus(2) + softplus(-3) + softplus(-4)) / 2;
  EXPECT_NEAR(Loss{.kind = LossKind::binary_cross_entropy}.sum(outputs, labels).item<double>(),
              expected, 1e-6);
}

TEST(Loss, OfNoSamplesIsZeroAndLeadsToZeroGradients) {
  const at::Tensor outputs = at::empty({0, 3}, at::kFloat).requires_grad_(true);
  const at::Tensor sum = Loss{}.sum(outputs, at::empty({0}, at::kLong));
  EXPECT_EQ(sum.item<double>(), 0);
  sum.backward();
  EXPECT_EQ(outputs.grad().numel(), 0);
}

TEST(Loss, SaysWhenItCannotJudgeTheLabels) {
  EXPECT_EQ(loss_kind("auto", ten_classes), LossKind::cross_entropy);
  EXPECT_EQ(loss_kind("auto", one_value), LossKind::mse);
  EXPECT_THROW(loss_kind("hinge", one_value), Error);
  try {
    Loss{}.check(one_value);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(),
                HasSubstr("cross_entropy needs classes, but the labels are values; use mse"));
  }
  EXPECT_THROW(Loss{.kind = LossKind::mse}.check(ten_classes), Error);
}

TEST(Metric, CountsHits) {
  const at::Tensor outputs = at::tensor(std::vector<float>{9, 8, 7, 6, 5, 4, 3, 2, 1, 0,  //
                                                           0, 1, 2, 3, 4, 5, 6, 7, 8, 9})
                                 .reshape({2, 10});
  EXPECT_EQ(value_of("accuracy", ten_classes, outputs, classes({0, 0})), 0.5);
  EXPECT_EQ(value_of("top5", ten_classes, outputs, classes({4, 4})), 0.5);
  EXPECT_EQ(value_of("top5", ten_classes, outputs, classes({4, 5})), 1);
}

TEST(Metric, KnowsPerplexityAndAbsoluteError) {
  const at::Tensor even = at::tensor(std::vector<float>(30, 0.5F)).reshape({3, 10});
  EXPECT_NEAR(value_of("perplexity", ten_classes, even, classes({1, 2, 3})), 10, 1e-4);
  const at::Tensor outputs = at::tensor(std::vector<float>{1, 2}).reshape({2, 1});
  EXPECT_EQ(value_of("mae", one_value, outputs, at::tensor(std::vector<float>{0, 5})), 2);
}

TEST(Metric, FindsTheAreaUnderTheCurve) {
  std::mt19937 generator(3);
  std::normal_distribution<float> noise;
  std::vector<float> scores;
  std::vector<std::int64_t> labels;
  for (int i = 0; i < 500; ++i) {
    labels.push_back(i % 3 == 0);
    scores.push_back(noise(generator) + static_cast<float>(labels.back()));
  }
  double wins = 0;
  double pairs = 0;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    for (std::size_t j = 0; j < scores.size(); ++j) {
      if (labels[i] == 1 && labels[j] == 0) {
        wins += scores[i] > scores[j] ? 1 : scores[i] == scores[j] ? 0.5 : 0;
        pairs += 1;
      }
    }
  }
  const DataShape two_classes{.features = {4}, .label_shape = {}, .classes = 2};
  const at::Tensor outputs = at::tensor(scores).reshape({-1, 1});
  const at::Tensor pair = outputs * at::tensor(std::vector<float>{-0.5F, 0.5F});
  EXPECT_NEAR(value_of("auc", two_classes, pair, classes(labels)), wins / pairs, 1e-3);
}

TEST(Metric, SumsOverRanksAndStartsAgain) {
  const std::vector<std::string> words{"accuracy"};
  auto first = make_metrics(words, ten_classes);
  auto second = make_metrics(words, ten_classes);
  const at::Tensor outputs =
      at::tensor(std::vector<float>{0, 0, 1, 0, 0, 0, 0, 0, 0, 0}).reshape({1, 10});
  first[0]->add(outputs, classes({2}));
  second[0]->add(outputs, classes({3}));
  for (std::size_t i = 0; i < 2; ++i) {
    first[0]->state()[i] += second[0]->state()[i];
  }
  EXPECT_EQ(first[0]->value(), 0.5);
  first[0]->reset();
  EXPECT_TRUE(std::isnan(first[0]->value()));
}

TEST(Metric, SaysWhenItDoesNotFit) {
  const std::vector<std::string> auc{"auc"};
  EXPECT_THROW(make_metrics(auc, ten_classes), Error);
  const std::vector<std::string> unknown{"f1"};
  EXPECT_THROW(make_metrics(unknown, ten_classes), Error);
  EXPECT_THAT(usual_metrics(ten_classes), ElementsAre("accuracy"));
  EXPECT_THAT(usual_metrics(one_value), ElementsAre("mae"));
}

}  // namespace
}  // namespace muster
