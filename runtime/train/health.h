/// Health: feeds the rules of debug.* (runtime/track/rules.h) with what a run shows of itself:
/// every debug.every steps the gradients and the silent units of all ranks, and the mean loss since
/// the look before; the losses at evaluations. Every rank has one and calls it alike; rank 0's
/// holds the rules. Between looks a step costs one addition.
///
/// A parameter's figures are summed over lanes: |g1| + |g2| where the batch's gradient is g1 + g2.
/// On one lane that is exact, on several an upper bound. A unit is silent when it is on every rank.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/comm/communicator.h"
#include "runtime/config/job.h"
#include "runtime/model/model.h"
#include "runtime/track/rules.h"

namespace muster {

class Health {
 public:
  /// Throws bad_input for a rule that is none. `world` must outlive it.
  Health(const DebugSettings& debug, Model& model, Communicator& world);

  /// Before the passes of a step.
  void begin(std::uint64_t step);
  /// After backward over a lane's samples, while the parameters have their gradients.
  void on_gradients(std::uint64_t samples);
  /// After the step, with the loss of the whole batch. Collective in steps that are looked at.
  void end(double loss);
  void on_evaluation(std::uint64_t step, double train_loss, double validation_loss);

  /// What was found since the last call, as sentences.
  std::vector<std::string> take();

 private:
  /// Of a parameter's gradients; doubles alone, as they travel.
  struct Sums {
    double magnitude = 0, norm = 0, not_finite = 0, seen = 0;
  };
  static constexpr std::size_t figures_each = sizeof(Sums) / sizeof(double);
  bool looks() const { return (step_ + 1) % every_ == 0; }
  void meet();
  void judge();
  void add(const std::vector<Finding>& findings);

  Model& model_;
  Communicator& world_;
  Rules rules_;
  std::uint64_t every_;
  std::uint64_t step_ = 0;
  std::vector<Sums> sums_;                 // a parameter's, over the lanes of this step
  std::vector<Model::Activity> activity_;  // of this rank's lanes together
  double loss_sum_ = 0;
  std::uint64_t losses_ = 0;
  std::vector<std::string> found_;
};

}  // namespace muster
