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

}  // namespace

Evaluator::Evaluator(const Dataset& data, const Loss& loss,
                     std::vector<std::unique_ptr<Metric>> metrics, std::uint64_t batch, bool bf16)
    : data_(data),
      loss_(loss),
      metrics_(std::move(metrics)),
      plan_{.rows = data.rows(), .batch = batch},
      bf16_(bf16) {
  features_.resize(batch * data.shape().feature_bytes());
  labels_.resize(batch * data.shape().label_bytes());
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
  std::vector<std::uint64_t> rows(range.count);
  std::iota(rows.begin(), rows.end(), range.first);
  const std::span<std::byte> features(features_.data(),
                                      range.count * data_.shape().feature_bytes());
  const std::span<std::byte> labels(labels_.data(), range.count * data_.shape().label_bytes());
  data_.gather(rows, features, labels);
  const AutocastScope autocast(bf16_);
  const at::Tensor wanted = label_tensor(data_.shape(), labels, range.count);
  const at::Tensor given = feature_tensor(data_.shape(), features, range.count);
  const at::Tensor outputs = forward_ ? forward_(given) : model.forward(given, Pass{});
  sums[0] = loss_.sum(outputs, wanted).item<double>();
  std::size_t at = 1;
  for (const auto& metric : metrics_) {
    const std::span<double> state = metric->state();
    if (state.size() > small_state) {
      metric->add(outputs, wanted);
      continue;
    }
    metric->reset();
    metric->add(outputs, wanted);
    std::copy(state.begin(), state.end(), sums.begin() + static_cast<std::ptrdiff_t>(at));
    at += state.size();
  }
}

}  // namespace muster
