/// Health: feeds the rules of debug.* (runtime/track/rules.h) with what a run shows of itself:
/// every debug.every steps the gradients and the silent units of one pass, and the mean loss since
/// the look before; the losses at evaluations. On rank 0, which looks at its own samples. Between
/// looks a step costs one addition. One thread.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/config/job.h"
#include "runtime/data/order.h"
#include "runtime/model/model.h"
#include "runtime/track/rules.h"

namespace muster {

class Health {
 public:
  /// Throws bad_input for a rule that is none.
  Health(const DebugSettings& debug, Model& model);

  /// Before the passes of a step.
  void begin(std::uint64_t step);
  /// After backward over `part` of `whole` samples, while the parameters have their gradients.
  void on_gradients(std::uint64_t part, std::uint64_t whole);
  /// After the step, with the loss of the whole batch.
  void end(double loss);
  void on_evaluation(std::uint64_t step, double train_loss, double validation_loss);

  /// What was found since the last call, as sentences.
  std::vector<std::string> take();

 private:
  bool looks() const { return (step_ + 1) % every_ == 0; }
  void add(const std::vector<Finding>& findings);

  Model& model_;
  Rules rules_;
  std::uint64_t every_;
  std::uint64_t step_ = 0;
  bool has_looked_ = false;  // at a lane of this step
  double loss_sum_ = 0;
  std::uint64_t losses_ = 0;
  std::vector<std::string> found_;
};

}  // namespace muster
