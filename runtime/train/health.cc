// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/health.h"

#include <cmath>
#include <utility>

#include "runtime/base/text.h"

namespace muster {
namespace {

Rules::Thresholds thresholds_of(const DebugSettings& debug) {
  return {.vanishing = debug.vanishing,
          .exploding = debug.exploding,
          .dead_share = debug.dead_share,
          .active_least = debug.active_least,
          .loss_fall = debug.loss_fall,
          .loss_rise = debug.loss_rise,
          .loss_looks = debug.loss_looks,
          .overfit = debug.overfit,
          .overfit_patience = debug.overfit_patience};
}

// `scale` makes the gradient of a part's sum over the whole count one of the part's mean.
GradientFigures figures_of(const NamedTensor& parameter, double scale) {
  const at::Tensor dense = parameter.tensor.grad().is_non_overlapping_and_dense()
                               ? parameter.tensor.grad()
                               : parameter.tensor.grad().contiguous();
  const auto* values = static_cast<const float*>(dense.const_data_ptr());
  double magnitude = 0;
  double squares = 0;
  for (std::int64_t i = 0; i < dense.numel(); ++i) {
    magnitude += std::abs(static_cast<double>(values[i]));
    squares += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  }
  return {.parameter = parameter.name,
          .mean_magnitude = scale * magnitude / static_cast<double>(dense.numel()),
          .norm = scale * std::sqrt(squares),
          .finite = std::isfinite(squares)};
}

}  // namespace

Health::Health(const DebugSettings& debug, Model& model)
    : model_(model),
      rules_(words(debug.rules), thresholds_of(debug)),
      every_(static_cast<std::uint64_t>(debug.every)) {}

void Health::begin(std::uint64_t step) {
  step_ = step;
  has_looked_ = false;
  if (rules_.watches("dead_units")) {
    model_.watch_activity(looks());
  }
}

void Health::on_gradients(std::uint64_t part, std::uint64_t whole) {
  if (has_looked_ || !looks() || part == 0) {
    return;
  }
  has_looked_ = true;
  std::vector<GradientFigures> figures;
  for (const NamedTensor& parameter : model_.parameters()) {
    const at::Tensor& gradient = parameter.tensor.grad();
    if (gradient.defined() && gradient.numel() > 0 && gradient.scalar_type() == at::kFloat) {
      figures.push_back(
          figures_of(parameter, static_cast<double>(whole) / static_cast<double>(part)));
    }
  }
  add(rules_.on_gradients(step_ + 1, figures));
  for (const Model::Activity& activity : model_.activity()) {
    add(rules_.on_activity(step_ + 1, activity.layer, activity.silent));
  }
}

void Health::end(double loss) {
  if (std::isfinite(loss)) {
    loss_sum_ += loss;
    ++losses_;
  }
  if (looks() && losses_ > 0) {
    add(rules_.on_loss(step_ + 1, loss_sum_ / static_cast<double>(losses_)));
    loss_sum_ = 0;
    losses_ = 0;
  }
}

void Health::on_evaluation(std::uint64_t step, double train_loss, double validation_loss) {
  add(rules_.on_evaluation(step, train_loss, validation_loss));
}

std::vector<std::string> Health::take() {
  return std::exchange(found_, {});
}

void Health::add(const std::vector<Finding>& findings) {
  for (const Finding& finding : findings) {
    found_.push_back("step " + std::to_string(finding.step) + ": " + finding.rule + ": " +
                     finding.text);
  }
}

}  // namespace muster
