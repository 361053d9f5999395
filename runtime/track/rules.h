/// Rules: watchers that look at the numbers of a training run and say when it is ailing, with the
/// thresholds of the managed service. Pure: they are fed by the trainer, hold only what they must
/// remember, and decide nothing but a sentence. One thread.
///
/// vanishing_gradient   mean |gradient| of a parameter < 1e-7
/// exploding_gradient   NaN or infinity in a gradient, or norm above 1e3 times its running median
/// dead_units           more than 50 % of a layer's units silent in more than 99 % of the passes
/// loss_not_decreasing  fell by less than 0.1 % over 10 looks, or rose by more than 5 %
/// overfit              (validation - train) / train > 0.1 at `patience` evaluations in a row
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace muster {

/// What a rule found. Each rule speaks once for each thing it watches until it has been healthy
/// again.
struct Finding {
  std::string rule;  ///< "vanishing_gradient"
  std::uint64_t step = 0;
  std::string text;  ///< "the mean gradient of layers.0.weight is 3.1e-09 (below 1e-07): ..., and
                     ///< what to try"
};

struct GradientFigures {
  std::string parameter;
  double mean_magnitude = 0;  ///< of the absolute values
  double norm = 0;
  bool finite = true;
};

class Rules {
 public:
  struct Thresholds {
    double vanishing = 1e-7;
    double exploding = 1e3;  ///< times the running median of the norm
    double dead_share = 0.5;
    double active_least = 0.01;
    double loss_fall = 0.001;
    double loss_rise = 0.05;
    int loss_looks = 10;
    double overfit = 0.1;
    int overfit_patience = 1;
  };
  /// Words: vanishing_gradient, exploding_gradient, dead_units, loss_not_decreasing, overfit, or
  /// all. Throws bad_input on another.
  Rules(const std::vector<std::string>& words, Thresholds thresholds);
  bool watches(const std::string& rule) const;

  std::vector<Finding> on_gradients(std::uint64_t step,
                                    const std::vector<GradientFigures>& figures);
  /// Once a training pass looked at: of `units` of a layer, which were silent (by index) in it.
  std::vector<Finding> on_activity(std::uint64_t step, const std::string& layer,
                                   const std::vector<bool>& silent);
  /// One look: the mean training loss since the last one.
  std::vector<Finding> on_loss(std::uint64_t step, double loss);
  std::vector<Finding> on_evaluation(std::uint64_t step, double train_loss, double validation_loss);

 private:
  /// A finding, unless the same was told and has not healed since.
  void tell(std::vector<Finding>& findings, bool is_ill, const std::string& rule,
            const std::string& about, std::uint64_t step, const std::string& text);
  Thresholds thresholds_;
  std::vector<std::string> words_;
  std::map<std::string, bool> ill_;  // by rule and what it watches
  std::map<std::string, std::deque<double>> norms_;
  struct Units {
    std::uint64_t passes = 0;
    std::vector<std::uint64_t> active;
  };
  std::map<std::string, Units> units_;
  std::deque<double> losses_;
  int overfit_in_a_row_ = 0;
};

}  // namespace muster
