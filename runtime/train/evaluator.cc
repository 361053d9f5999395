// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/evaluator.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <numeric>

#include "runtime/model/autocast.h"
#include "runtime/train/step_runner.h"

namespace muster {
namespace {

// States of at most so many numbers are kept batch by batch. Larger ones are counts, whose sums are
// exact in any order.
constexpr std::size_t small_state = 8;

constexpr std::int64_t piece_bytes = std::int64_t{32} << 20;  // of outputs in float32

}  // namespace

Evaluator::Evaluator(const Dataset& data, const Loss& loss,
                     std::vector<std::unique_ptr<Metric>> metrics, const Options& options)
    : data_(data),
      loss_(loss),
      metrics_(std::move(metrics)),
      plan_{.rows = data.rows(), .batch = options.batch},
      options_(options) {
  features_.resize(options.at_once * data.shape().feature_bytes());
  labels_.resize(options.at_once * data.shape().label_bytes());
}

std::size_t Evaluator::small_states() const {
  std::size_t numbers = 0;
  for (const auto& metric : metrics_) {
    numbers += metric->state().size() <= small_state ? metric->state().size() : 0;
  }
  return numbers;
}

std::vector<std::pair<std::string, double>> Evaluator::run(Model& model, Communicator& world) {
  const at::NoGradGuard no_gradients;
  const std::size_t width = 1 + small_states();
  std::vector<double> sums(plan_.steps() * width);
  for (const auto& metric : metrics_) {
    metric->reset();
  }
  for (std::uint64_t step = static_cast<std::uint64_t>(world.rank()); step < plan_.steps();
       step += static_cast<std::uint64_t>(world.size())) {
    add_batch(model, plan_.of_step(step), std::span(sums).subspan(step * width, width));
  }
  world.all_reduce(buffer_of(sums.data(), sums.size()), ReduceOp::sum).wait();
  std::vector<double> total(width);
  for (std::size_t i = 0; i < sums.size(); ++i) {
    total[i % width] += sums[i];
  }
  std::vector<std::pair<std::string, double>> figures{
      {"loss", total[0] / static_cast<double>(data_.rows())}};
  std::size_t at = 1;
  for (const auto& metric : metrics_) {
    const std::span<double> state = metric->state();
    if (state.size() <= small_state) {
      std::copy_n(total.begin() + static_cast<std::ptrdiff_t>(at), state.size(), state.begin());
      at += state.size();
    } else {
      world.all_reduce(buffer_of(state.data(), state.size()), ReduceOp::sum).wait();
    }
    figures.emplace_back(metric->name(), metric->value());
  }
  return figures;
}

void Evaluator::add_batch(Model& model, SampleRange range, std::span<double> sums) {
  for (const auto& metric : metrics_) {
    if (metric->state().size() <= small_state) {
      metric->reset();
    }
  }
  for (std::uint64_t done = 0; done < range.count; done += options_.at_once) {
    const std::uint64_t count = std::min(options_.at_once, range.count - done);
    add_pass(model, {range.first + done, count}, sums[0]);
  }
  std::size_t at = 1;
  for (const auto& metric : metrics_) {
    const std::span<double> state = metric->state();
    if (state.size() <= small_state) {
      std::copy(state.begin(), state.end(), sums.begin() + static_cast<std::ptrdiff_t>(at));
      at += state.size();
    }
  }
}

void Evaluator::add_pass(Model& model, SampleRange range, double& loss) {
  std::vector<std::uint64_t> rows(range.count);
  std::iota(rows.begin(), rows.end(), range.first);
  const std::span<std::byte> features(features_.data(),
                                      range.count * data_.shape().feature_bytes());
  const std::span<std::byte> labels(labels_.data(), range.count * data_.shape().label_bytes());
  data_.gather(rows, features, labels);
  const AutocastScope autocast(options_.bf16);
  const at::Tensor wanted = label_tensor(data_.shape(), labels, range.count);
  const at::Tensor given = feature_tensor(data_.shape(), features, range.count);
  if (!forward_) {
    judge(model.forward(given, Pass{}), wanted, loss);
    return;
  }
  forward_(given, wanted, [&](const at::Tensor& outputs, const at::Tensor& there) {
    judge_in_pieces(outputs, there, loss);
  });
}

void Evaluator::judge(const at::Tensor& outputs, const at::Tensor& labels, double& loss) {
  loss += loss_.sum(outputs, labels).item<double>();
  for (const auto& metric : metrics_) {
    metric->add(outputs, labels);
  }
}

/// Rows of logits are judged each for itself, and a sample of tokens has one a position.
void Evaluator::judge_in_pieces(const at::Tensor& outputs, const at::Tensor& labels, double& loss) {
  const bool has_tokens = data_.shape().labels == DataShape::Labels::tokens;
  const at::Tensor rows = has_tokens ? outputs.reshape({-1, outputs.size(-1)}) : outputs;
  const at::Tensor wanted = has_tokens ? labels.reshape({-1}) : labels;
  const std::int64_t count = rows.size(0);
  const std::int64_t row_bytes = std::max<std::int64_t>(1, rows.numel() / count) * 4;
  const std::int64_t many = std::max<std::int64_t>(1, piece_bytes / row_bytes);
  double sum = 0;
  for (std::int64_t first = 0; first < count; first += many) {
    const std::int64_t here = std::min(many, count - first);
    judge(rows.narrow(0, first, here), wanted.narrow(0, first, here), sum);
  }
  loss += has_tokens ? sum / static_cast<double>(labels.size(1)) : sum;
}

}  // namespace muster
