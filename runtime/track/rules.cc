// SPDX-License-Identifier: Apache-2.0
#include "runtime/track/rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "runtime/base/error.h"

namespace muster {
namespace {

constexpr std::array<std::string_view, 5> known_rules{
    "vanishing_gradient", "exploding_gradient", "dead_units", "loss_not_decreasing", "overfit"};
constexpr std::size_t norm_memory = 50;
constexpr std::size_t norms_needed = 5;      // before a median means anything
constexpr std::uint64_t passes_needed = 20;  // before a unit counts as dead

double median(std::deque<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

Rules::Rules(const std::vector<std::string>& words, Thresholds thresholds)
    : thresholds_(thresholds) {
  for (const std::string& word : words) {
    if (word == "all") {
      words_.assign(known_rules.begin(), known_rules.end());
    } else if (std::ranges::find(known_rules, word) != known_rules.end()) {
      words_.push_back(word);
    } else if (word != "none") {
      throw Error(
          Fault::bad_input,
          fmt::format("debug.rules: '{}' is no rule; use vanishing_gradient, exploding_gradient, "
                      "dead_units, loss_not_decreasing, overfit, all or none",
                      word));
    }
  }
}

bool Rules::watches(const std::string& rule) const {
  return std::ranges::find(words_, rule) != words_.end();
}

void Rules::tell(std::vector<Finding>& findings, bool is_ill, const std::string& rule,
                 const std::string& about, std::uint64_t step, const std::string& text) {
  bool& was_ill = ill_[rule + " " + about];
  if (is_ill && !was_ill && watches(rule)) {
    findings.push_back({.rule = rule, .step = step, .text = text});
  }
  was_ill = is_ill;
}

std::vector<Finding> Rules::on_gradients(std::uint64_t step,
                                         const std::vector<GradientFigures>& figures) {
  std::vector<Finding> findings;
  for (const GradientFigures& each : figures) {
    tell(findings, each.finite && each.mean_magnitude < thresholds_.vanishing, "vanishing_gradient",
         each.parameter, step,
         fmt::format("the mean gradient of {} is {:.2g}, below {:.2g}: it hardly learns; try a "
                     "normalisation, another activation "
                     "or larger initial values",
                     each.parameter, each.mean_magnitude, thresholds_.vanishing));
    auto& norms = norms_[each.parameter];
    const double usual = norms.size() >= norms_needed ? median(norms) : 0;
    const bool jumps = usual > 0 && each.norm > thresholds_.exploding * usual;
    tell(findings, !each.finite || jumps, "exploding_gradient", each.parameter, step,
         each.finite
             ? fmt::format("the gradient of {} has norm {:.3g}, {:.0f} times the usual {:.3g}; "
                           "lower optimizer.lr, or set "
                           "optimizer.clip",
                           each.parameter, each.norm, each.norm / std::max(usual, 1e-300), usual)
             : fmt::format("the gradient of {} holds NaN or infinity; lower optimizer.lr, or set "
                           "optimizer.clip",
                           each.parameter));
    if (each.finite && !jumps) {
      norms.push_back(each.norm);
      if (norms.size() > norm_memory) {
        norms.pop_front();
      }
    }
  }
  return findings;
}

std::vector<Finding> Rules::on_activity(std::uint64_t step, const std::string& layer,
                                        const std::vector<bool>& silent) {
  Units& units = units_[layer];
  units.active.resize(silent.size());
  ++units.passes;
  std::size_t dead = 0;
  for (std::size_t i = 0; i < silent.size(); ++i) {
    units.active[i] += silent[i] ? 0 : 1;
    dead += static_cast<double>(units.active[i]) <
                    thresholds_.active_least * static_cast<double>(units.passes)
                ? 1
                : 0;
  }
  std::vector<Finding> findings;
  const bool is_ill =
      units.passes >= passes_needed &&
      static_cast<double>(dead) > thresholds_.dead_share * static_cast<double>(silent.size());
  tell(findings, is_ill, "dead_units", layer, step,
       fmt::format("{} of {} units of {} answer zero in more than {:.0f} % of {} passes; lower "
                   "optimizer.lr, or use another "
                   "activation",
                   dead, silent.size(), layer, 100 * (1 - thresholds_.active_least), units.passes));
  return findings;
}

std::vector<Finding> Rules::on_loss(std::uint64_t step, double loss) {
  losses_.push_back(loss);
  std::vector<Finding> findings;
  if (losses_.size() <= static_cast<std::size_t>(thresholds_.loss_looks)) {
    return findings;
  }
  const double before = losses_.front();
  losses_.pop_front();
  const double fall = (before - loss) / std::max(std::abs(before), 1e-300);
  const bool rises = fall < -thresholds_.loss_rise;
  tell(findings, !(fall >= thresholds_.loss_fall), "loss_not_decreasing", "", step,
       fmt::format("the training loss {} {:.2g} % over {} looks (from {:.4g} to {:.4g}); {} "
                   "optimizer.lr, or check labels and "
                   "normalisation",
                   fall < 0 ? "rose by" : "fell by only", 100 * std::abs(fall),
                   thresholds_.loss_looks, before, loss, rises ? "lower" : "change"));
  return findings;
}

std::vector<Finding> Rules::on_evaluation(std::uint64_t step, double train_loss,
                                          double validation_loss) {
  const double gap = (validation_loss - train_loss) / std::max(std::abs(train_loss), 1e-300);
  overfit_in_a_row_ = gap > thresholds_.overfit ? overfit_in_a_row_ + 1 : 0;
  std::vector<Finding> findings;
  tell(findings, overfit_in_a_row_ >= thresholds_.overfit_patience, "overfit", "", step,
       fmt::format("the validation loss {:.4g} is {:.0f} % above the training loss {:.4g}; stop "
                   "earlier (train.patience), add "
                   "weight decay or dropout, or more data",
                   validation_loss, 100 * gap, train_loss));
  return findings;
}

}  // namespace muster
