// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/trainer.h"

#include <algorithm>

#include "runtime/train/trainer_impl.h"

namespace muster {

TrainEnd Trainer::Impl::run() {
  std::optional<GradientPool::Entered> entered;
  if (exchange && exchange->pool() != nullptr) {
    entered.emplace(*exchange->pool());
  }
  if (loader) {
    loader->seek({state.step / length.steps_per_epoch, state.step % length.steps_per_epoch});
  }
  shares = {};
  verdict = Verdict::go_on;
  for (;;) {
    if (epoch_is_due()) {
      close_epoch();
    }
    if (state.ended || state.step >= until) {
      return verdict == Verdict::pause ? TrainEnd::paused : TrainEnd::finished;
    }
    if (verdict != Verdict::go_on) {
      return verdict == Verdict::pause ? TrainEnd::paused : TrainEnd::stopped;
    }
    train_step();
    if (stop_agreed) {
      return stop_is_noticed() ? TrainEnd::noticed : TrainEnd::stopped;
    }
    report_between_epochs();
    if (save_is_due()) {
      enter(Phase::checkpoint);
      settle_rest();
      if (epoch_is_due()) {
        close_epoch();  // so that what is kept of an epoch's end has its score
      }
      parts.keeper->save(tree, state.step, score);
    }
  }
}

// What is never updated keeps this value: frozen parameters, and those that no loss depends on.
void Trainer::Impl::start_average() {
  if (rule.ema > 0) {
    const Range own = own_range();
    const auto values = arena->parameters().subspan(own.begin, own.count());
    std::copy(values.begin(), values.end(),
              average().begin() + static_cast<std::ptrdiff_t>(own.begin));
  }
}

// Each machine updates its own part of flat memory that is laid out as the arena.
void Trainer::Impl::bring_together(std::span<float> flat) {
  if (!is_bucketed && parts.ranks.across.size() > 1) {
    const auto nodes = static_cast<std::size_t>(parts.ranks.across.size());
    const Range own = own_range();
    const std::size_t first =
        static_cast<std::size_t>(parts.ranks.node.rank()) * nodes * own.count();
    parts.ranks.across
        .all_gather(buffer_of(flat.data() + own.begin, own.count()),
                    buffer_of(flat.data() + first, own.count() * nodes))
        .wait();
  }
  parts.ranks.node.barrier();
}

Trainer::Trainer(const JobSettings& job, const TrainerParts& parts, TrainObserver& observer)
    : impl_(std::make_unique<Impl>(job, parts, observer)) {}
Trainer::~Trainer() = default;

TrainEnd Trainer::run() {
  const TrainEnd end = impl_->run();
  impl_->settle_rest();
  if (end != TrainEnd::paused) {
    impl_->end_trace();
  }
  if (end == TrainEnd::finished && !impl_->gpu && impl_->rule.ema > 0) {
    impl_->bring_together(impl_->average());
  }
  return end;
}

void Trainer::extend_to_epochs(std::uint64_t epochs) {
  impl_->until = epochs * impl_->length.steps_per_epoch;
}

StateTree& Trainer::state() {
  return impl_->tree;
}

Mover& Trainer::mover() {
  return impl_->gpu ? impl_->gpu->mover() : host_mover();
}

std::string Trainer::gpu_mode() const {
  return impl_->gpu ? impl_->gpu->mode() : "";
}

void Trainer::restored() {
  if (impl_->gpu) {
    impl_->gpu->seek(impl_->state.step, impl_->state.updates);
    return;
  }
  impl_->bring_together(impl_->arena->parameters());
}

CheckpointInfo Trainer::checkpoint_info() const {
  CheckpointInfo info = impl_->agreed_on;
  info.step = static_cast<std::int64_t>(impl_->state.step);
  info.score = impl_->score;
  return info;
}

std::uint64_t Trainer::step() const {
  return impl_->state.step;
}
double Trainer::best() const {
  return impl_->state.best;
}
std::uint64_t Trainer::steps() const {
  return impl_->until;
}
bool Trainer::is_finished() const {
  return impl_->state.ended || impl_->state.step >= impl_->until;
}

void Trainer::with_final_parameters(const std::function<void()>& body) {
  if (impl_->gpu) {
    impl_->gpu->on_host(body);
    return;
  }
  if (impl_->rule.ema == 0) {
    body();
    return;
  }
  struct Back {
    Impl& impl;
    ~Back() { impl.arena->point_at(impl.arena->parameters()); }
  } back{*impl_};  // also when the body throws
  impl_->arena->point_at(impl_->average());
  body();
}

std::vector<double> Trainer::run_steps(std::uint64_t count) {
  std::vector<double> losses;
  if (impl_->gpu) {
    const struct Seen {  // losses come later than their steps
      ~Seen() { slot = nullptr; }
      std::vector<double>*& slot;
    } seen{impl_->losses_seen};
    seen.slot = &losses;
    for (std::uint64_t i = 0; i < count; ++i) {
      impl_->gpu_step();
      if (impl_->save_is_due()) {
        impl_->settle_rest();
        impl_->parts.keeper->save(impl_->tree, impl_->state.step, impl_->score);
      }
    }
    impl_->settle_rest();
    return losses;
  }
  std::optional<GradientPool::Entered> entered;
  if (impl_->exchange->pool() != nullptr) {
    entered.emplace(*impl_->exchange->pool());
  }
  impl_->loader->seek({impl_->state.step / impl_->length.steps_per_epoch,
                       impl_->state.step % impl_->length.steps_per_epoch});
  for (std::uint64_t i = 0; i < count; ++i) {
    losses.push_back(impl_->train_step());
  }
  return losses;
}

std::uint64_t Trainer::memory_bytes() const {
  if (impl_->gpu) {
    return impl_->gpu->memory_bytes();
  }
  // Parameters, optimiser state, gradients, and two copies of the parameters while the model is
  // written.
  const std::uint64_t flat =
      impl_->arena->table().capacity() * sizeof(float) * (4 + impl_->arena->state_slots());
  return flat + (impl_->exchange->pool() != nullptr ? impl_->exchange->pool()->private_bytes() : 0);
}

}  // namespace muster
