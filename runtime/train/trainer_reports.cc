// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "runtime/train/trainer_impl.h"

namespace muster {
namespace {

/// NaN of nothing: every step was left out.
double mean_of(double sum, std::uint64_t samples) {
  return samples > 0 ? sum / static_cast<double>(samples)
                     : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace

bool Trainer::Impl::epoch_is_due() const {
  const bool at_end = state.step % length.steps_per_epoch == 0 || state.step >= until;
  return state.step > 0 && at_end && state.closed_step != state.step;
}

void Trainer::Impl::close_epoch() {
  settle_rest();
  TrainReport report = new_report();
  report.ends_epoch = true;
  state.last_train_loss = mean_of(state.loss_sum, state.loss_samples);
  say_skipped();
  report.values = {{"train_loss", state.last_train_loss},
                   {"lr", rate_at(schedule, state.step - 1)}};
  const std::uint64_t epoch = (state.step + length.steps_per_epoch - 1) / length.steps_per_epoch;
  const bool is_last = state.step >= until;
  if (evaluator && (is_last || epoch % static_cast<std::uint64_t>(job.train.evaluate_every) == 0)) {
    evaluate(report);
  }
  judge(report);
  state.loss_sum = 0;
  state.loss_samples = 0;
  state.report_loss_sum = 0;
  state.report_samples = 0;
  state.closed_step = state.step;
  verdict = tell(report);
  shares = {};
}

void Trainer::Impl::evaluate(TrainReport& report) {
  enter(Phase::evaluate);
  const auto measure = [&] {
    for (auto& [name, value] : evaluator->run(parts.model, parts.ranks.world)) {
      report.values.emplace_back("val_" + name, value);
      if (health && name == "loss") {
        health->on_evaluation(state.step, state.last_train_loss, value);
        say_findings();
      }
    }
  };
  if (gpu) {
    gpu->with_average(measure);
  } else if (rule.ema > 0) {
    bring_together(average());
    arena->point_at(average());
    measure();
    arena->point_at(arena->parameters());
  } else {
    measure();
  }
}

void Trainer::Impl::judge(TrainReport& report) {
  std::string wanted = monitor.metric;
  if (job.train.monitor == "auto" && !evaluator) {
    wanted = "train_loss";
  }
  const auto found =
      std::ranges::find_if(report.values, [&](const auto& value) { return value.first == wanted; });
  if (found == report.values.end()) {
    return;  // an epoch without an evaluation
  }
  score = monitor.higher_is_better ? found->second : -found->second;
  if (monitor.improves(found->second, state.best, job.train.min_delta)) {
    state.best = found->second;
    state.best_step = state.step;
    state.without_improvement = 0;
    report.is_best = true;
    return;
  }
  ++state.without_improvement;
  if (job.train.patience &&
      state.without_improvement >= static_cast<std::uint64_t>(*job.train.patience)) {
    state.ended = true;
    if (is_first()) {
      observer.on_remark(
          fmt::format("{} has not improved for {} evaluations; the best was {:.6g} at step {}",
                      wanted, state.without_improvement, state.best, state.best_step));
    }
  }
}

TrainReport Trainer::Impl::new_report() {
  TrainReport report;
  report.step = state.step;
  report.steps = until;
  report.epoch = static_cast<double>(state.step) / static_cast<double>(length.steps_per_epoch);
  report.epochs = (until + length.steps_per_epoch - 1) / length.steps_per_epoch;
  const auto elapsed =
      static_cast<double>(std::max<std::int64_t>(1, monotonic_ns() - shares.since_ns));
  report.samples_per_second = static_cast<double>(shares.samples) / (elapsed * 1e-9);
  report.data_share = static_cast<double>(shares.data_ns) / elapsed;
  report.compute_share = static_cast<double>(shares.compute_ns) / elapsed;
  report.exchange_share = static_cast<double>(shares.exchange_ns) / elapsed;
  return report;
}

Verdict Trainer::Impl::tell(const TrainReport& report) {
  auto answer = static_cast<std::int32_t>(observer.on_report(report));
  parts.ranks.world.broadcast(buffer_of(&answer, 1), 0).wait();
  return static_cast<Verdict>(answer);
}

void Trainer::Impl::report_between_epochs() {
  maybe_show_progress();
  const auto every = static_cast<std::uint64_t>(job.train.report_every);
  if (every == 0 || state.step % every != 0 || epoch_is_due()) {
    return;
  }
  settle_rest();
  TrainReport report = new_report();
  report.values = {{"train_loss", mean_of(state.report_loss_sum, state.report_samples)},
                   {"lr", rate_at(schedule, state.step - 1)}};
  state.report_loss_sum = 0;
  state.report_samples = 0;
  verdict = tell(report);
}

void Trainer::Impl::maybe_show_progress() {
  constexpr std::int64_t second = 1'000'000'000;
  const std::int64_t now = monotonic_ns();
  const bool nothing_is_known = gpu && shares.samples == 0;  // its steps are queued, not over
  if (!is_first() || now - shown_ns < second || nothing_is_known) {
    return;
  }
  shown_ns = now;
  TrainReport report = new_report();
  report.values = {{"train_loss", mean_of(state.loss_sum, state.loss_samples)}};
  observer.on_progress(report);
}

}  // namespace muster
