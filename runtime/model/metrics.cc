// SPDX-License-Identifier: Apache-2.0
#include "runtime/model/metrics.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Reduction.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "runtime/base/error.h"

namespace muster {
namespace {

/// Means: the sum of something, and how many.
class MeanMetric : public Metric {
 public:
  std::span<double> state() override { return state_; }
  double value() const override {
    return state_[1] > 0 ? state_[0] / state_[1] : std::numeric_limits<double>::quiet_NaN();
  }

 protected:
  void count(double sum, std::int64_t many) {
    state_[0] += sum;
    state_[1] += static_cast<double>(many);
  }

 private:
  std::array<double, 2> state_{};
};

at::Tensor rows_of(const at::Tensor& outputs) {
  return outputs.detach().reshape({-1, outputs.size(-1)}).to(at::kFloat);
}

class Accuracy final : public MeanMetric {
 public:
  std::string_view name() const override { return "accuracy"; }
  bool higher_is_better() const override { return true; }
  void add(const at::Tensor& outputs, const at::Tensor& labels) override {
    if (labels.numel() > 0) {
      const at::Tensor hits = rows_of(outputs).argmax(1).eq(labels.reshape({-1}));
      count(static_cast<double>(hits.sum().item<std::int64_t>()), labels.numel());
    }
  }
};

class TopFive final : public MeanMetric {
 public:
  std::string_view name() const override { return "top5"; }
  bool higher_is_better() const override { return true; }
  void add(const at::Tensor& outputs, const at::Tensor& labels) override {
    if (labels.numel() > 0) {
      const at::Tensor best = std::get<1>(rows_of(outputs).topk(5, 1));
      const at::Tensor hits = best.eq(labels.reshape({-1, 1}));
      count(static_cast<double>(hits.sum().item<std::int64_t>()), labels.numel());
    }
  }
};

class Perplexity final : public MeanMetric {
 public:
  std::string_view name() const override { return "perplexity"; }
  bool higher_is_better() const override { return false; }
  void add(const at::Tensor& outputs, const at::Tensor& labels) override {
    if (labels.numel() > 0) {
      const at::Tensor sum = at::cross_entropy_loss(rows_of(outputs), labels.reshape({-1}),
                                                    std::nullopt, at::Reduction::Sum);
      count(sum.item<double>(), labels.numel());
    }
  }
  double value() const override { return std::exp(MeanMetric::value()); }
};

class MeanAbsoluteError final : public MeanMetric {
 public:
  std::string_view name() const override { return "mae"; }
  bool higher_is_better() const override { return false; }
  void add(const at::Tensor& outputs, const at::Tensor& labels) override {
    const at::Tensor error =
        outputs.detach().to(at::kFloat).flatten() - labels.to(at::kFloat).flatten();
    count(error.abs().sum(at::kDouble).item<double>(), error.numel());
  }
};

/// Area under the ROC curve from counts of scores in bins: what falls into one bin counts as tied.
/// Scores are squeezed by s / (1 + |s|), which keeps their order and gives confident ones bins too.
class AreaUnderCurve final : public Metric {
 public:
  std::string_view name() const override { return "auc"; }
  bool higher_is_better() const override { return true; }
  std::span<double> state() override { return counts_; }

  void add(const at::Tensor& outputs, const at::Tensor& labels) override {
    const at::Tensor rows = rows_of(outputs.dim() == 1 ? outputs.unsqueeze(1) : outputs);
    const at::Tensor scores =
        rows.size(1) == 2 ? rows.select(1, 1) - rows.select(1, 0) : rows.select(1, 0);
    const at::Tensor score = scores.to(at::kCPU, at::kDouble).contiguous();
    const at::Tensor truth = labels.reshape({-1}).to(at::kCPU, at::kDouble).contiguous();
    for (std::int64_t i = 0; i < score.numel(); ++i) {
      const bool is_positive = truth.data_ptr<double>()[i] > 0.5;
      counts_[bin_of(score.data_ptr<double>()[i]) + (is_positive ? bins : 0)] += 1;
    }
  }

  double value() const override {
    double negatives_below = 0;
    double positives = 0;
    double wins = 0;
    for (std::size_t i = 0; i < bins; ++i) {
      wins += counts_[bins + i] * (negatives_below + counts_[i] / 2);
      negatives_below += counts_[i];
      positives += counts_[bins + i];
    }
    const double pairs = positives * negatives_below;
    return pairs > 0 ? wins / pairs : std::numeric_limits<double>::quiet_NaN();
  }

 private:
  static constexpr std::size_t bins = 8192;
  static std::size_t bin_of(double score) {
    if (std::isnan(score)) {
      return 0;
    }
    const double squeezed =
        std::isinf(score) ? std::copysign(1.0, score) : score / (1 + std::abs(score));
    const auto bin = static_cast<std::size_t>((squeezed + 1) / 2 * bins);
    return std::min(bin, bins - 1);
  }
  std::vector<double> counts_ = std::vector<double>(2 * bins);
};

std::unique_ptr<Metric> make_metric(std::string_view word) {
  if (word == "accuracy") {
    return std::make_unique<Accuracy>();
  }
  if (word == "top5") {
    return std::make_unique<TopFive>();
  }
  if (word == "perplexity") {
    return std::make_unique<Perplexity>();
  }
  if (word == "mae") {
    return std::make_unique<MeanAbsoluteError>();
  }
  if (word == "auc") {
    return std::make_unique<AreaUnderCurve>();
  }
  throw Error(Fault::bad_input,
              fmt::format("'{}' is no metric; use accuracy, top5, perplexity, mae or auc", word));
}

void check_fit(std::string_view word, const DataShape& data) {
  const bool has_values = data.labels == DataShape::Labels::values;
  const bool is_single = has_values && data.label_bytes() == sizeof(float);
  const bool fits = word == "mae"    ? has_values
                    : word == "auc"  ? is_single || (!has_values && data.classes == 2)
                    : word == "top5" ? !has_values && data.classes >= 5
                                     : !has_values;
  if (!fits) {
    throw Error(
        Fault::bad_input,
        fmt::format(
            "metric {} does not fit the data ({}): mae wants values, auc two classes or one "
            "value, top5 five classes, accuracy and perplexity classes",
            word, data.text()));
  }
}

}  // namespace

void Metric::reset() {
  std::ranges::fill(state(), 0.0);
}

std::vector<std::unique_ptr<Metric>> make_metrics(std::span<const std::string> words,
                                                  const DataShape& data) {
  std::vector<std::unique_ptr<Metric>> metrics;
  for (const std::string& word : words) {
    metrics.push_back(make_metric(word));
    check_fit(word, data);
  }
  return metrics;
}

std::vector<std::string> usual_metrics(const DataShape& data) {
  switch (data.labels) {
    case DataShape::Labels::values:
      return {"mae"};
    case DataShape::Labels::tokens:
      return {"perplexity"};
    default:
      return data.classes >= 20 ? std::vector<std::string>{"accuracy", "top5"}
                                : std::vector<std::string>{"accuracy"};
  }
}

}  // namespace muster
