// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "runtime/train/trainer_impl.h"

namespace muster {

void Trainer::Impl::build_for_gpu() {
  gpu = std::make_unique<GpuStep>(
      parts.model, parts.train, loss, parts.gpu, parts.ranks.world,
      gpu_options(job, parts.train.shape(), length, parts.ranks.world.size()),
      [this](const std::string& text) {
        if (is_first()) {
          observer.on_remark(text);
        }
      });
  state.add_to(tree);
  gpu->add_to(tree);
}

/// On a GPU the state stands still only between blocks of steps.
bool Trainer::Impl::save_is_due() {
  wants_save = wants_save ||
               (parts.keeper != nullptr && (checkpoint_agreed || parts.keeper->due(state.step)));
  return is_boundary && std::exchange(wants_save, false);
}

/// How many steps may be queued before anybody must see the state between them.
std::uint64_t Trainer::Impl::room() const {
  std::uint64_t steps = until - state.step;
  const auto up_to = [&](std::uint64_t every) {
    if (every > 0) {
      steps = std::min(steps, every - state.step % every);
    }
  };
  up_to(length.steps_per_epoch);
  up_to(static_cast<std::uint64_t>(job.train.report_every));
  up_to(static_cast<std::uint64_t>(job.checkpoint.every_steps.value_or(0)));
  return steps;
}

double Trainer::Impl::gpu_step() {
  enter(Phase::compute);
  const std::int64_t start = monotonic_ns();
  const StepNote own = note();
  const GpuStep::Outcome outcome = gpu->step(room(), {own.wants_stop, own.wants_checkpoint});
  ++state.step;
  score.reset();
  is_boundary = outcome.is_boundary;
  stop_agreed = outcome.agreed.stop;
  checkpoint_agreed = outcome.agreed.checkpoint;
  if (checkpoint_agreed && parts.control != nullptr) {
    hints_seen = parts.control->checkpoint_hint.load(std::memory_order_relaxed);
  }
  if (stop_agreed && parts.control != nullptr && parts.ranks.node.rank() == 0) {
    parts.control->stop_after_step.store(state.step, std::memory_order_release);
  }
  const double loss_now = settle_gpu(outcome.finished);
  const std::int64_t done = monotonic_ns();
  shares.compute_ns += done - start;
  step_ns = step_ns == 0 ? done - start : step_ns + (done - start - step_ns) / 8;
  show_step();
  return loss_now;
}

// Steps that the GPU has finished since it was last asked. The last loss.
double Trainer::Impl::settle_gpu(const std::vector<GpuStep::Finished>& finished) {
  double last = std::numeric_limits<double>::quiet_NaN();
  for (const GpuStep::Finished& step : finished) {
    last = step.loss;
    if (losses_seen != nullptr) {
      losses_seen->push_back(step.loss);
    }
    shares.samples += step.samples;
    if (!step.skipped) {
      ++state.updates;
      const auto weight = static_cast<double>(step.samples);
      state.loss_sum += step.loss * weight;
      state.loss_samples += step.samples;
      state.report_loss_sum += step.loss * weight;
      state.report_samples += step.samples;
    } else if (job.train.amp == "fp16" && step.loss_scale > 1) {
      fallen_scale = step.loss_scale / 2;
    } else {
      StepOutcome outcome;
      outcome.skipped = true;
      outcome.not_finite =
          StepOutcome::NotFinite{std::isfinite(step.loss) ? "a gradient" : "the loss", -1};
      heed(outcome, step.step);
    }
  }
  return last;
}

// Waits for what is queued; then the state is that of this step.
void Trainer::Impl::settle_rest() {
  if (gpu) {
    const std::int64_t start = monotonic_ns();
    settle_gpu(gpu->drain());
    gpu->keep();
    shares.compute_ns += monotonic_ns() - start;
  }
}

}  // namespace muster
