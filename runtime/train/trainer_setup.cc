// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <functional>
#include <iterator>

#include "runtime/base/error.h"
#include "runtime/base/text.h"
#include "runtime/comm/reduction_plan.h"
#include "runtime/model/metrics.h"
#include "runtime/train/fingerprint.h"
#include "runtime/train/trainer_impl.h"

namespace muster {
namespace {

constexpr std::size_t strict_alignment = 4096;

// Batch statistics hold a mean and a variance for each channel, as the running buffers do.
std::size_t statistics_floats(Model& model) {
  std::size_t floats = 0;
  for (const NamedTensor& buffer : model.buffers()) {
    floats += buffer.tensor.scalar_type() == at::kFloat
                  ? static_cast<std::size_t>(buffer.tensor.numel())
                  : 0;
  }
  return model.has_batch_norm() ? floats : 0;
}

// Before anything is shared: ranks with different models would not fail, they would train nonsense.
void compare_models(Communicator& world, Model& model) {
  ReductionPlan plan;
  for (const auto* tensors : {&model.parameters(), &model.buffers()}) {
    for (const NamedTensor& named : *tensors) {
      plan.entries.push_back(
          {.name = named.name, .count = static_cast<std::uint64_t>(named.tensor.numel())});
    }
  }
  compare_plans(world, plan);
}

Loss loss_of(const TrainSettings& train, const DataShape& shape) {
  Loss loss{.kind = loss_kind(train.loss, shape), .label_smoothing = train.label_smoothing};
  loss.check(shape);
  return loss;
}

/// The samples that a rank computes at once when it trains, which its GPU has memory for.
std::uint64_t most_at_once(const TrainSettings& train, const Communicator& world) {
  const SampleRange whole{0, static_cast<std::uint64_t>(train.batch_size)};
  const SampleRange own = part_of(whole, 0, static_cast<std::uint64_t>(world.size()));
  return std::max<std::uint64_t>(
      1, part_of({0, own.count}, 0, static_cast<std::uint64_t>(train.accumulate)).count);
}

}  // namespace

Trainer::Impl::Impl(const JobSettings& job_settings, const TrainerParts& trainer_parts,
                    TrainObserver& train_observer)
    : job(job_settings),
      parts(trainer_parts),
      observer(train_observer),
      length(run_length(job, parts.train.rows())),
      until(length.steps),
      rule(optimizer_rule(job.optimizer, job.train)),
      schedule(schedule_rule(job.schedule, job.optimizer.lr, length)),
      monitor(parse_monitor(job.train.monitor)),
      loss(loss_of(job.train, parts.train.shape())),
      reducer(parts.ranks.world),
      profile(profile_steps(job.train)),
      is_bucketed(job.train.exchange == "bucketed") {
  compare_models(parts.ranks.world, parts.model);
  const int world = parts.ranks.world.size();
  if (const WholeStep* step = parts.model.whole_step()) {
    step->check(loss);
    if (const auto remark = filling_remark(job, step->batch(), world); remark && is_first()) {
      observer.on_remark(*remark);
    }
  }
  check_job(job, parts.model, parts.train, world, parts.ranks.across.size());
  if (parts.gpu.gpu != nullptr) {
    build_for_gpu();
  } else {
    build_for_cpu();
  }
  build_evaluator();
  agreed_on = fingerprint(job, parts.model, parts.train, world, length.steps);
}

// Found before the first epoch, not after it.
void Trainer::Impl::check_monitor(const std::vector<std::string>& metrics) const {
  std::vector<std::string> names{"train_loss", "lr", "val_loss"};
  std::ranges::transform(metrics, std::back_inserter(names),
                         [](const std::string& word) { return "val_" + word; });
  if (std::ranges::find(names, monitor.metric) == names.end()) {
    throw Error(Fault::bad_input, "train.monitor = " + job.train.monitor +
                                      ": nothing here is called '" + monitor.metric +
                                      "'; there are " + join(names, ", ") +
                                      ", and train.metric adds others");
  }
}

void Trainer::Impl::build_evaluator() {
  if (parts.validation == nullptr || job.train.evaluate_every <= 0) {
    if (job.train.patience && monitor.metric.starts_with("val_") && job.train.monitor != "auto" &&
        is_first()) {
      observer.on_remark("train.patience looks at " + monitor.metric +
                         ", but nothing is evaluated here: set data.validation or "
                         "data.validation_fraction, and train.evaluate_every above 0");
    }
    return;
  }
  const auto words =
      job.train.metric.empty() ? usual_metrics(parts.validation->shape()) : job.train.metric;
  check_monitor(words);
  const auto batch = std::min<std::uint64_t>(256, static_cast<std::uint64_t>(job.train.batch_size));
  evaluator = std::make_unique<Evaluator>(
      *parts.validation, loss, make_metrics(words, parts.validation->shape()),
      Evaluator::Options{
          .batch = batch,
          .at_once = gpu ? std::min(batch, most_at_once(job.train, parts.ranks.world)) : batch,
          .bf16 = job.train.amp == "bf16" && !gpu});
  if (gpu) {
    evaluator->set_forward(
        [this](const at::Tensor& features, const at::Tensor& labels, const Evaluator::Look& look) {
          gpu->evaluate(features, labels, look);
        });
  }
}

void Trainer::Impl::build_for_cpu() {
  check_cpu_job(job.train);
  const int world = parts.ranks.world.size();
  NodeGroup* node = &parts.ranks.node;
  Communicator* across = &parts.ranks.across;
  if (is_bucketed) {
    alone = solo_node_group();
    node = alone.get();
    across = &parts.ranks.world;
  }
  arena = std::make_unique<Arena>(
      parts.model.parameters(), *node, *across,
      Arena::Shape{.parts = is_bucketed ? 1 : static_cast<std::size_t>(world),
                   .alignment = job.train.strict ? strict_alignment : SegmentTable::line,
                   .state_slots = rule.slot_names().size()});
  arena->table().apply(group_rules(job.optimizer, job.model));
  start_average();
  for (std::size_t i = 0; i < arena->tensors().size(); ++i) {
    arena->tensors()[i].set_requires_grad(!arena->table().segments()[i].frozen);
  }
  const ExchangeOptions options{
      .strict_lanes = job.train.strict ? static_cast<std::size_t>(job.train.shards) : 0,
      .on_nan = job.train.on_nan == "skip" ? OnNan::skip : OnNan::stop,
      .bucket_bytes = static_cast<std::size_t>(job.train.bucket_mb * 1048576.0),
      .statistics = statistics_floats(parts.model)};
  exchange = is_bucketed ? make_bucketed_exchange(parts.ranks, *arena, options)
                         : make_fused_exchange(parts.ranks, *arena, options);
  const bool synchronised = job.model.batch_norm == "synchronised";
  if (job.debug.rules != "none") {
    health = std::make_unique<Health>(job.debug, parts.model, parts.ranks.world);
  }
  runner = std::make_unique<StepRunner>(
      parts.model, loss, parts.train.shape(), *exchange,
      StepRunner::Options{
          .seed = job.train.seed,
          .accumulate = static_cast<std::uint64_t>(job.train.accumulate),
          .bf16 = job.train.amp == "bf16",
          .seeds_torch = draws_from_torch(job.model.kind),
          .synchronise = synchronised && world > 1 ? &reducer : nullptr,
          .on_gradients = health ? [this](std::uint64_t samples) { health->on_gradients(samples); }
                                 : std::function<void(std::uint64_t)>()});
  loader = std::make_unique<Loader>(
      parts.train,
      Loader::Options{.batch = static_cast<std::uint64_t>(job.train.batch_size),
                      .seed = job.train.seed,
                      .drop_last = job.data.drop_last,
                      .prefetch = job.data.prefetch,
                      .part = [this](SampleRange whole) { return runner->own_part(whole); }});
  state.add_to(tree);
  add_tensors(tree, *arena, own_range(), rule, parts.model, is_bucketed);
}

Range Trainer::Impl::own_range() const {
  if (is_bucketed) {
    return {0, arena->table().capacity()};
  }
  const auto nodes = static_cast<std::size_t>(parts.ranks.across.size());
  return arena->table().shard(static_cast<std::size_t>(parts.ranks.node.rank()) * nodes +
                              static_cast<std::size_t>(parts.ranks.across.rank()));
}

}  // namespace muster
