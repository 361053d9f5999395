// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "runtime/base/error.h"
#include "runtime/base/text.h"
#include "runtime/data/loader.h"
#include "runtime/data/order.h"
#include "runtime/model/model.h"

namespace muster {
namespace {

[[noreturn]] void refuse(const std::string& sentence) {
  throw Error(Fault::bad_input, sentence);
}

std::uint64_t steps_of(double epochs, const RunLength& length) {
  return static_cast<std::uint64_t>(
      std::llround(epochs * static_cast<double>(length.steps_per_epoch)));
}

GroupRules::RateFactor rate_factor(const std::string& text) {
  const auto parts = words(text);
  const auto factor = parts.size() == 2 ? parse_double(parts[1]) : std::nullopt;
  if (!factor || !(*factor >= 0) || !std::isfinite(*factor)) {
    refuse("optimizer.rate: '" + text + "' is not 'PATTERN FACTOR', such as 'encoder.* 0.1'");
  }
  return {parts[0], *factor};
}

void check_strict(const JobSettings& job, const Model& model, int ranks, int nodes) {
  if (ranks > job.train.shards) {
    refuse("train.strict keeps equal bits on up to train.shards = " +
           std::to_string(job.train.shards) + " ranks, not " + std::to_string(ranks) +
           "; raise train.shards (another result, the same on any number of ranks up to it)");
  }
  if (nodes > 1 || job.train.exchange != "fused") {
    refuse(
        "train.strict needs the ranks on one machine and train.exchange = fused: sums over a "
        "network have no fixed tree");
  }
  if (job.model.batch_norm == "synchronised" && model.has_batch_norm()) {
    refuse(
        "train.strict keeps the statistics of batch normalisation for each shard, where "
        "model.batch_norm = synchronised sums them over the ranks, whose number then shows in the "
        "bits; use model.batch_norm = local");
  }
  if (const std::string why = model.refuses_strict(); !why.empty()) {
    refuse("train.strict cannot promise equal bits: " + why);
  }
}

void refuse_on_gpu(bool is_asked, const std::string& what) {
  if (is_asked) {
    throw Error(Fault::bad_input,
                what + " is not there on GPUs; leave it out, or set train.device = cpu");
  }
}

DType float_type(const std::string& word) {
  return word == "bf16" ? DType::bfloat16 : word == "fp16" ? DType::float16 : DType::float32;
}

}  // namespace

RunLength run_length(const JobSettings& job, std::uint64_t rows) {
  const TrainSettings& train = job.train;
  RunLength length;
  length.steps_per_epoch = BatchPlan{.rows = rows,
                                     .batch = static_cast<std::uint64_t>(train.batch_size),
                                     .drop_last = job.data.drop_last}
                               .steps();
  length.steps = length.steps_per_epoch * static_cast<std::uint64_t>(train.epochs);
  if (train.steps) {
    length.steps = std::min(length.steps, static_cast<std::uint64_t>(*train.steps));
  }
  return length;
}

OptimizerRule optimizer_rule(const OptimizerSettings& optimizer, const TrainSettings& train) {
  OptimizerRule rule;
  rule.kind = optimizer.kind == "adam"    ? OptimizerRule::Kind::adam
              : optimizer.kind == "adamw" ? OptimizerRule::Kind::adamw
                                          : OptimizerRule::Kind::sgd;
  rule.momentum = optimizer.momentum;
  rule.nesterov = optimizer.nesterov;
  rule.beta1 = optimizer.betas.at(0);
  rule.beta2 = optimizer.betas.at(1);
  rule.epsilon = optimizer.eps;
  rule.weight_decay = optimizer.weight_decay;
  rule.clip_norm = optimizer.clip.value_or(0);
  rule.ema = train.ema.value_or(0);
  return rule;
}

ScheduleRule schedule_rule(const ScheduleSettings& schedule, double rate, const RunLength& length) {
  ScheduleRule rule;
  rule.kind = schedule.kind == "step"        ? ScheduleRule::Kind::step
              : schedule.kind == "cosine"    ? ScheduleRule::Kind::cosine
              : schedule.kind == "one_cycle" ? ScheduleRule::Kind::one_cycle
                                             : ScheduleRule::Kind::constant;
  rule.rate = rate;
  rule.warmup_steps = schedule.warmup_steps + steps_of(schedule.warmup_epochs, length);
  rule.total_steps = length.steps;
  rule.every = steps_of(schedule.every, length);
  rule.factor = schedule.factor;
  rule.final_share = schedule.final_share;
  rule.rise_share = schedule.rise_share;
  rule.start_divisor = schedule.start_divisor;
  rule.final_divisor = schedule.final_divisor;
  return rule;
}

GroupRules group_rules(const OptimizerSettings& optimizer, const ModelSettings& model) {
  GroupRules rules{.no_decay = optimizer.no_decay, .freeze = model.freeze, .rates = {}};
  for (const std::string& text : optimizer.rate) {
    rules.rates.push_back(rate_factor(text));
  }
  return rules;
}

bool Monitor::improves(double value, double best, double least_change) const {
  if (std::isnan(value)) {
    return false;
  }
  return std::isnan(best) ||
         (higher_is_better ? value > best + least_change : value < best - least_change);
}

Monitor parse_monitor(const std::string& text) {
  if (text == "auto") {
    return {};
  }
  const auto parts = words(text);
  if (parts.size() != 2 || (parts[0] != "max" && parts[0] != "min")) {
    refuse("train.monitor: '" + text +
           "' is not 'max NAME' or 'min NAME', such as 'max val_accuracy'");
  }
  return {.metric = parts[1], .higher_is_better = parts[0] == "max"};
}

std::optional<std::pair<std::uint64_t, std::uint64_t>> profile_steps(const TrainSettings& train) {
  if (!train.profile) {
    return std::nullopt;
  }
  const auto parts = split(*train.profile, '-');
  const auto first = parse_int(parts.front());
  const auto last = parse_int(parts.back());
  if (parts.size() > 2 || !first || !last || *first < 1 || *last < *first) {
    refuse("train.profile: '" + *train.profile +
           "' is not a range of steps, such as 100-110 (the first step is 1)");
  }
  return std::pair(static_cast<std::uint64_t>(*first), static_cast<std::uint64_t>(*last));
}

void check_cpu_job(const TrainSettings& train) {
  const auto refuse = [](bool is_asked, const std::string& what, const std::string& remedy) {
    if (is_asked) {
      throw Error(Fault::bad_input, what + " is for GPUs, and this runs on the CPU; " + remedy);
    }
  };
  refuse(train.amp == "fp16", "train.amp = fp16", "set train.amp = bf16 or none");
  refuse(train.crop_padding > 0, "train.crop_padding", "leave it out");
  refuse(train.flip, "train.flip", "leave it out");
}

GpuStep::Options gpu_options(const JobSettings& job, const DataShape& shape,
                             const RunLength& length, int ranks) {
  const TrainSettings& train = job.train;
  refuse_on_gpu(job.model.kind == "compiled", "model.kind = compiled");
  refuse_on_gpu(train.strict, "train.strict");
  refuse_on_gpu(job.debug.rules != "none", "debug.rules");
  refuse_on_gpu(train.profile.has_value(), "train.profile");
  refuse_on_gpu(job.model.batch_norm == "synchronised" && ranks > 1,
                "model.batch_norm = synchronised");
  refuse_on_gpu(train.ema && train.shard_optimizer && ranks > 1,
                "train.ema together with train.shard_optimizer");
  if ((train.crop_padding > 0 || train.flip) && shape.features.size() != 3) {
    refuse("train.crop_padding and train.flip are for images, and a sample here is none (" +
           shape.text() + "); leave them out");
  }
  const OptimizerRule rule = optimizer_rule(job.optimizer, train);
  return GpuStep::Options{.seed = train.seed,
                          .batch = static_cast<std::uint64_t>(train.batch_size),
                          .accumulate = static_cast<std::uint64_t>(train.accumulate),
                          .drop_last = job.data.drop_last,
                          .prefetch = job.data.prefetch,
                          .amp = float_type(train.amp),
                          .wire = float_type(train.wire),
                          .is_sharded = train.shard_optimizer,
                          .bucket_bytes = static_cast<std::size_t>(train.bucket_mb * 1048576.0),
                          .rule = rule,
                          .schedule = schedule_rule(job.schedule, job.optimizer.lr, length),
                          .groups = group_rules(job.optimizer, job.model),
                          .graph = train.graph == "on"    ? GraphMode::on
                                   : train.graph == "off" ? GraphMode::off
                                                          : GraphMode::automatic,
                          .steps_a_graph = static_cast<std::uint64_t>(train.graph_steps),
                          .short_step_seconds = train.short_ms * 1e-3,
                          .recomputes = train.recompute,
                          .seeds_torch = draws_from_torch(job.model.kind),
                          .crop_padding = static_cast<std::uint32_t>(train.crop_padding),
                          .flips = train.flip};
}

std::string memory_kind(const JobSettings& job, const Model& model) {
  const TrainSettings& train = job.train;
  return fmt::format("{} {} {} {} {} {} {} {}", model.fingerprint(), train.batch_size,
                     train.accumulate, train.amp, train.recompute, train.graph, train.graph_steps,
                     join(optimizer_rule(job.optimizer, train).slot_names(), " "));
}

std::uint64_t memory_guess(const Model& model) {
  constexpr std::uint64_t copies = 8;  // parameters, gradients, two of state, and the work's
  return static_cast<std::uint64_t>(parameter_count(model)) * sizeof(float) * copies;
}

bool draws_from_torch(std::string_view kind) {
  return kind == "torchscript" || kind == "compiled" || kind.starts_with("plugin:");
}

std::optional<std::string> filling_remark(const JobSettings& job, std::int64_t compiled,
                                          int ranks) {
  const auto rounded_up = [](std::int64_t a, std::int64_t b) { return (a + b - 1) / b; };
  const std::int64_t lanes = job.train.strict ? job.train.shards : ranks;
  const std::int64_t part = rounded_up(job.train.batch_size, lanes * job.train.accumulate);
  const std::int64_t computed = rounded_up(part, compiled) * compiled;
  if (computed == part) {
    return std::nullopt;
  }
  return "a part of " + std::to_string(part) + " samples is computed as " +
         std::to_string(computed) + ", because the step was compiled for " +
         std::to_string(compiled) + " at a time: compile it for " + std::to_string(part) +
         ", or change train.batch_size";
}

void check_job(const JobSettings& job, const Model& model, const Dataset& data, int ranks,
               int nodes) {
  check_batch(data, static_cast<std::uint64_t>(job.train.batch_size), ranks);
  if (job.model.kind == "compiled" && job.train.amp != "none") {
    refuse("train.amp = " + job.train.amp +
           " does not reach into a compiled step; use torch.autocast in the Python model, and set "
           "train.amp = none");
  }
  if (job.train.strict) {
    check_strict(job, model, ranks, nodes);
  }
}

}  // namespace muster
