/// TrainState: everything of a run that is not derived from its settings: counters, sums, the best
/// so far. With the tensors of arena and model it is the whole state: schedule, sample order and
/// random numbers are functions of `step`. Add a field here and it is saved, restored, moved and
/// cloned.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>

#include "runtime/checkpoint/state_tree.h"
#include "runtime/model/model.h"
#include "runtime/train/arena.h"
#include "runtime/train/update.h"

namespace muster {

class GpuArena;

struct TrainState {
  std::uint64_t step = 0;     ///< steps done
  std::uint64_t updates = 0;  ///< of them not skipped: what bias correction counts
  std::uint64_t closed_step =
      0;                ///< the step at which an epoch was last closed (evaluated, reported)
  double loss_sum = 0;  ///< over the epoch so far, weighted by samples
  std::uint64_t loss_samples = 0;
  double report_loss_sum = 0;  ///< over the steps since the last report
  std::uint64_t report_samples = 0;
  double best = std::numeric_limits<double>::quiet_NaN();
  std::uint64_t best_step = 0;
  std::uint64_t without_improvement = 0;  ///< evaluations
  double last_train_loss = std::numeric_limits<double>::quiet_NaN();
  bool ended = false;  ///< patience ran out

  void add_to(StateTree& tree);
};

/// The tensors: parameters and optimiser state of this rank's shard of `arena` ("model/..",
/// "optimizer/momentum/.."), and the model's buffers, which all ranks hold with equal bits.
/// `replicated`: every rank holds the whole arena (exchange = bucketed). Names and shapes are those
/// of the model; channels-last tensors lie in the order of their memory and say so (axes).
void add_tensors(StateTree& tree, Arena& arena, Range shard, const OptimizerRule& rule,
                 Model& model, bool replicated);
/// The same names and shapes of an arena on a GPU. What every rank holds is replicated; with ZeRO-1
/// the optimiser's state is not, and each rank gives its part of every bucket.
void add_gpu_tensors(StateTree& tree, GpuArena& arena, const OptimizerRule& rule, Model& model,
                     Device device);

}  // namespace muster
