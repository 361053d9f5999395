// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/health.h"

#include <cmath>
#include <cstring>
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

void add_figures(const at::Tensor& gradient, double& magnitude, double& squares) {
  const at::Tensor dense =
      gradient.is_non_overlapping_and_dense() ? gradient : gradient.contiguous();
  const auto* values = static_cast<const float*>(dense.const_data_ptr());
  for (std::int64_t i = 0; i < dense.numel(); ++i) {
    magnitude += std::abs(static_cast<double>(values[i]));
    squares += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  }
}

// A unit stays silent when it is silent in both.
void merge(std::vector<Model::Activity>& all, const std::vector<Model::Activity>& more) {
  if (all.empty()) {
    all = more;
    return;
  }
  for (std::size_t layer = 0; layer < all.size(); ++layer) {
    for (std::size_t unit = 0; unit < all[layer].silent.size(); ++unit) {
      all[layer].silent[unit] = all[layer].silent[unit] && more[layer].silent[unit];
    }
  }
}

}  // namespace

Health::Health(const DebugSettings& debug, Model& model, Communicator& world)
    : model_(model),
      world_(world),
      rules_(words(debug.rules), thresholds_of(debug)),
      every_(static_cast<std::uint64_t>(debug.every)) {}

void Health::begin(std::uint64_t step) {
  step_ = step;
  sums_.assign(model_.parameters().size(), {});
  activity_.clear();
  if (rules_.watches("dead_units")) {
    model_.watch_activity(looks());
  }
}

void Health::on_gradients(std::uint64_t samples) {
  if (!looks() || samples == 0) {
    return;
  }
  for (std::size_t i = 0; i < sums_.size(); ++i) {
    const at::Tensor& gradient = model_.parameters()[i].tensor.grad();
    if (gradient.defined() && gradient.numel() > 0 && gradient.scalar_type() == at::kFloat) {
      double magnitude = 0;
      double squares = 0;
      add_figures(gradient, magnitude, squares);
      sums_[i].magnitude += magnitude / static_cast<double>(gradient.numel());
      sums_[i].norm += std::sqrt(squares);
      sums_[i].not_finite += std::isfinite(squares) ? 0 : 1;
      sums_[i].seen += 1;
    }
  }
  if (rules_.watches("dead_units")) {
    merge(activity_, model_.activity());
  }
}

// Brings the figures of all ranks together: a number each of a parameter, and one of a unit that is
// active.
void Health::meet() {
  std::int64_t units = 0;
  for (const Model::Activity& layer : activity_) {
    units += static_cast<std::int64_t>(layer.silent.size());
  }
  world_.all_reduce(buffer_of(&units, 1), ReduceOp::max).wait();
  const std::size_t figures = sums_.size() * figures_each;
  std::vector<double> all(figures + static_cast<std::size_t>(units));
  std::memcpy(all.data(), sums_.data(), figures * sizeof(double));
  auto active = all.begin() + static_cast<std::ptrdiff_t>(figures);
  for (const Model::Activity& layer : activity_) {
    for (const bool is_silent : layer.silent) {
      *active++ = is_silent ? 0 : 1;
    }
  }
  world_.all_reduce(buffer_of(all.data(), all.size()), ReduceOp::sum).wait();
  std::memcpy(static_cast<void*>(sums_.data()), all.data(), figures * sizeof(double));
  active = all.begin() + static_cast<std::ptrdiff_t>(figures);
  for (Model::Activity& layer : activity_) {
    for (std::size_t unit = 0; unit < layer.silent.size(); ++unit) {
      layer.silent[unit] = *active++ == 0;
    }
  }
}

void Health::judge() {
  std::vector<GradientFigures> figures;
  for (std::size_t i = 0; i < sums_.size(); ++i) {
    if (sums_[i].seen > 0) {
      figures.push_back({.parameter = model_.parameters()[i].name,
                         .mean_magnitude = sums_[i].magnitude,
                         .norm = sums_[i].norm,
                         .finite = sums_[i].not_finite == 0});
    }
  }
  add(rules_.on_gradients(step_ + 1, figures));
  for (const Model::Activity& layer : activity_) {
    add(rules_.on_activity(step_ + 1, layer.layer, layer.silent));
  }
}

void Health::end(double loss) {
  if (std::isfinite(loss)) {
    loss_sum_ += loss;
    ++losses_;
  }
  if (!looks()) {
    return;
  }
  meet();
  if (world_.rank() == 0) {
    judge();
  }
  if (losses_ > 0) {
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
