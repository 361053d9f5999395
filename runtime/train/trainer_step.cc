// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "runtime/base/error.h"
#include "runtime/train/trainer_impl.h"

namespace muster {
namespace {

constexpr std::uint64_t skips_told = 3;  // of an epoch, one by one

}  // namespace

double Trainer::Impl::train_step() {
  if (gpu) {
    return gpu_step();
  }
  const std::int64_t start = monotonic_ns();
  enter(Phase::data);
  const HostBatch& batch = loader->next();
  const std::int64_t fetched = monotonic_ns();
  enter(Phase::compute);
  begin_trace();
  if (health) {
    health->begin(state.step);
  }
  keep_own_buffers();
  runner->run(batch, state.step);
  const std::int64_t computed = monotonic_ns();
  enter(Phase::exchange);
  const Update update(rule, rate_at(schedule, state.step), state.updates + 1);
  StepNote own = note();
  own.busy_ns = computed - start;
  const StepOutcome outcome = exchange->finish(own, update);
  const std::int64_t done = monotonic_ns();
  if (trace) {
    trace->phase("data", start, fetched, state.step + 1);
    trace->phase("compute", fetched, computed, state.step + 1);
    trace->phase("exchange", computed, done, state.step + 1);
    if (state.step + 1 == profile->second) {
      write_trace();
    }
  }
  shares.data_ns += fetched - start;
  shares.compute_ns += computed - fetched;
  shares.exchange_ns += done - computed;
  step_ns = step_ns == 0 ? done - start : step_ns + (done - start - step_ns) / 8;
  settle(outcome, batch);
  show_step();
  return outcome.loss;
}

StepNote Trainer::Impl::note() const {
  StepNote own{.wants_stop = is_ailing};
  if (parts.control != nullptr && parts.ranks.node.rank() == 0) {
    own.wants_stop =
        is_ailing || parts.control->notice.load(std::memory_order_acquire) != Notice::none ||
        parts.control->stop_after_step.load(std::memory_order_acquire) <= state.step + 1;
    own.wants_checkpoint =
        parts.control->checkpoint_hint.load(std::memory_order_relaxed) != hints_seen;
  }
  return own;
}

void Trainer::Impl::settle(const StepOutcome& outcome, const HostBatch& batch) {
  if (outcome.not_finite || outcome.skipped) {
    heed(outcome, state.step + 1);
    put_back_own_buffers();
  } else {
    ++state.updates;
    const auto weight = static_cast<double>(batch.whole.count);
    state.loss_sum += outcome.loss * weight;
    state.loss_samples += batch.whole.count;
    state.report_loss_sum += outcome.loss * weight;
    state.report_samples += batch.whole.count;
    if (parts.model.has_batch_norm()) {
      advance_buffers(batch.whole);
    }
  }
  if (health) {
    health->end(outcome.loss);
    say_findings();
  }
  ++state.step;
  shares.samples += batch.whole.count;
  score.reset();
  stop_agreed = outcome.stop;
  checkpoint_agreed = outcome.checkpoint;
  if (outcome.checkpoint && parts.control != nullptr) {
    hints_seen = parts.control->checkpoint_hint.load(std::memory_order_relaxed);
  }
  if (outcome.stop && parts.control != nullptr && parts.ranks.node.rank() == 0) {
    parts.control->stop_after_step.store(state.step, std::memory_order_release);
  }
  if (auto sentence = straggler.on_step(state.step, outcome.busy_ns); sentence && is_first()) {
    observer.on_remark(*sentence);
  }
}

// What the rules found is told, and with debug.action = stop the next step is the last.
void Trainer::Impl::say_findings() {
  for (const std::string& text : health->take()) {
    if (!is_first()) {
      continue;
    }
    observer.on_remark(text);
    is_ailing = is_ailing || job.debug.action == "stop";
  }
}

// Rank 0 knows whether a rule asked; the others hear it here.
bool Trainer::Impl::stop_is_noticed() {
  std::int32_t by_rule = is_ailing ? 1 : 0;
  parts.ranks.world.broadcast(buffer_of(&by_rule, 1), 0).wait();
  return by_rule == 0;
}

// A loss or gradient that is no number: an error that names it, or a step left out.
void Trainer::Impl::heed(const StepOutcome& outcome, std::uint64_t step) {
  const std::string where = outcome.not_finite ? outcome.not_finite->where : "a gradient";
  std::string what =
      fmt::format("step {}: {}{} is not finite (NaN or infinity)", step,
                  where == "the loss" || where == "a gradient" ? "" : "the gradient of ", where);
  if (outcome.not_finite && outcome.not_finite->rank >= 0) {
    what += fmt::format(" on rank {}", outcome.not_finite->rank);
  }
  if (job.train.on_nan == "skip") {
    if (++skipped <= skips_told && is_first()) {
      observer.on_remark(what + "; the step is left out (train.on_nan = skip)");
    }
    return;
  }
  throw Error(
      Fault::bad_input,
      what +
          "; lower optimizer.lr, set optimizer.clip, look at the data, or set train.on_nan = skip");
}

// Where that were many, how many.
void Trainer::Impl::say_skipped() {
  if (skipped > skips_told && is_first()) {
    observer.on_remark(fmt::format(
        "{} steps of this epoch were left out (train.on_nan = skip){}", skipped,
        state.loss_samples == 0
            ? ": all of them; lower optimizer.lr, set optimizer.clip, or look at the data"
            : ""));
  }
  if (fallen_scale > 0 && state.loss_samples == 0 && is_first()) {
    observer.on_remark(fmt::format(
        "every step of this epoch overflowed in fp16 and was left out; the loss scale is {} now, "
        "and falls until steps fit: scale the data, or set train.amp = bf16",
        fallen_scale));
  }
  skipped = 0;
  fallen_scale = 0;
}

void Trainer::Impl::advance_buffers(SampleRange whole) {
  std::vector<std::uint64_t> samples(exchange->lanes());
  for (std::size_t lane = 0; lane < samples.size(); ++lane) {
    samples[lane] = runner->lane_part(whole, lane).count;
  }
  parts.model.advance_statistics(exchange->statistics(samples));
}

void Trainer::Impl::keep_own_buffers() {
  own_buffers.clear();
  if (parts.model.writes_own_buffers() && job.train.on_nan == "skip") {
    for (const NamedTensor& buffer : parts.model.buffers()) {
      own_buffers.push_back(buffer.tensor.detach().clone());
    }
  }
}

void Trainer::Impl::put_back_own_buffers() {
  for (std::size_t i = 0; i < own_buffers.size(); ++i) {
    parts.model.buffers()[i].tensor.detach().copy_(own_buffers[i]);
  }
}

void Trainer::Impl::enter(Phase phase) {
  if (parts.slot != nullptr) {
    parts.slot->phase.store(phase, std::memory_order_relaxed);
    parts.slot->phase_since_ns.store(monotonic_ns(), std::memory_order_relaxed);
  }
}

void Trainer::Impl::show_step() {
  if (parts.slot != nullptr) {
    parts.slot->step.store(state.step, std::memory_order_relaxed);
    parts.slot->step_ns.store(step_ns, std::memory_order_relaxed);
  }
}

void Trainer::Impl::begin_trace() {
  const std::uint64_t step = state.step + 1;
  if (profile && !trace && step >= profile->first && step <= profile->second &&
      !parts.directory.empty()) {
    trace = std::make_unique<Trace>(parts.ranks.world.rank());
  }
}

void Trainer::Impl::write_trace() {
  posix_file_system().make_directory(parts.directory / "profile");
  const Path path =
      parts.directory / "profile" / fmt::format("trace-rank-{}.json", parts.ranks.world.rank());
  write_file_atomically(path, trace->text());
  trace.reset();
  profile.reset();
  if (is_first()) {
    observer.on_remark("the trace is in " + path.string() +
                       " (open it in a browser's trace viewer, or ui.perfetto.dev)");
  }
}

// A range that the run does not reach the end of is traced as far as it went.
void Trainer::Impl::end_trace() {
  if (trace) {
    write_trace();
  } else if (profile && profile->first > state.step && is_first()) {
    observer.on_remark(fmt::format("train.profile = {}: there is no trace, the last step was {}",
                                   *job.train.profile, state.step));
  }
}

}  // namespace muster
