// SPDX-License-Identifier: Apache-2.0
#include "runtime/config/job.h"

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "runtime/base/text.h"

namespace muster {
namespace {

using Complaint = std::optional<std::string>;

void describe_optimizer(Keys& keys, OptimizerSettings& optimizer) {
  keys.section("optimizer", "How parameters move");
  keys.add("optimizer.kind", optimizer.kind, "The rule").one_of({"sgd", "adam", "adamw"});
  keys.add("optimizer.lr", optimizer.lr, "Learning rate").above(0);
  keys.add("optimizer.momentum", optimizer.momentum, "sgd").at_least(0).below(1);
  keys.add("optimizer.nesterov", optimizer.nesterov, "sgd: look ahead");
  keys.add("optimizer.weight_decay", optimizer.weight_decay, "Pull towards zero").at_least(0);
  keys.add("optimizer.betas", optimizer.betas, "adam: decay of both moments").at_least(0).below(1);
  keys.add("optimizer.eps", optimizer.eps, "adam: added to the denominator").above(0);
  keys.add("optimizer.clip", optimizer.clip, "Largest global norm of the gradient").above(0);
  keys.add("optimizer.no_decay", optimizer.no_decay, "Parameters without weight decay ('*.bias')");
  keys.add("optimizer.rate", optimizer.rate, "'PATTERN FACTOR': their rate times this");
  keys.check("optimizer.betas", [&optimizer]() -> Complaint {
    return optimizer.betas.size() == 2 ? std::nullopt
                                       : Complaint("optimizer.betas must be two numbers");
  });
  keys.check("optimizer.nesterov", [&optimizer]() -> Complaint {
    if (optimizer.nesterov && optimizer.momentum == 0) {
      return "optimizer.nesterov needs optimizer.momentum above 0";
    }
    return std::nullopt;
  });
}

void describe_schedule(Keys& keys, ScheduleSettings& schedule) {
  keys.section("schedule", "How the learning rate changes");
  keys.add("schedule.kind", schedule.kind, "Its shape")
      .one_of({"constant", "step", "cosine", "one_cycle"});
  keys.add("schedule.warmup_steps", schedule.warmup_steps, "Steps of linear rise");
  keys.add("schedule.warmup_epochs", schedule.warmup_epochs, "The same in epochs").at_least(0);
  keys.add("schedule.every", schedule.every, "step: epochs between cuts").above(0);
  keys.add("schedule.factor", schedule.factor, "step: of a cut").above(0);
  keys.add("schedule.final_share", schedule.final_share, "cosine: ends at lr times this")
      .at_least(0)
      .at_most(1);
  keys.add("schedule.rise_share", schedule.rise_share, "one_cycle: share of steps that rise")
      .above(0)
      .below(1);
  keys.add("schedule.start_divisor", schedule.start_divisor, "one_cycle: starts at lr / this")
      .at_least(1);
  keys.add("schedule.final_divisor", schedule.final_divisor, "one_cycle: ends at start / this")
      .at_least(1);
  keys.check("schedule.warmup_steps", [&schedule]() -> Complaint {
    if (schedule.warmup_steps > 0 && schedule.warmup_epochs > 0) {
      return "schedule.warmup_steps and schedule.warmup_epochs exclude each other";
    }
    return std::nullopt;
  });
}

void describe_train_outcome(Keys& keys, TrainSettings& train) {
  keys.add("train.on_nan", train.on_nan, "When a loss or gradient is not finite")
      .one_of({"stop", "skip"});
  keys.add("train.profile", train.profile, "Trace these steps for a browser's trace viewer")
      .may_change()
      .placeholder("A-B");
  keys.add("train.evaluate_every", train.evaluate_every, "Epochs between evaluations; 0 is never")
      .at_least(0);
  keys.add("train.monitor", train.monitor, "What 'best' means, such as 'max val_accuracy'");
  keys.add("train.patience", train.patience, "Evaluations without improvement before it stops")
      .at_least(1);
  keys.add("train.min_delta", train.min_delta, "Least change that is an improvement").at_least(0);
  keys.add("train.ema", train.ema, "Decay of averaged weights").above(0).below(1);
  keys.add("train.report_every", train.report_every, "Steps between metrics; 0 is by epoch")
      .at_least(0)
      .may_change();
  keys.add("train.tensorboard", train.tensorboard, "Write event files").may_change();
  keys.add("train.progress", train.progress, "Show the live line").may_change();
  keys.add("train.save", train.save, "Forms of the trained model")
      .one_of({"hdf5", "torchscript", "safetensors"})
      .may_change();
}

void describe_train(Keys& keys, TrainSettings& train) {
  keys.section("train", "How long, how large, how exact");
  keys.add("train.epochs", train.epochs, "Passes over the data").at_least(1).may_change();
  keys.add("train.steps", train.steps, "Stop after so many steps").at_least(1).may_change();
  keys.add("train.batch_size", train.batch_size, "Samples a step, over all ranks").at_least(1);
  keys.add("train.accumulate", train.accumulate, "Parts a batch is computed in").at_least(1);
  keys.add("train.loss", train.loss, "What is minimised")
      .one_of({"auto", "cross_entropy", "mse", "mae", "bce"});
  keys.add("train.label_smoothing", train.label_smoothing, "cross_entropy").at_least(0).below(1);
  keys.add("train.metric", train.metric, "Also computed [by loss]")
      .one_of({"accuracy", "top5", "perplexity", "mae", "auc"});
  keys.add("train.seed", train.seed, "Of every random choice");
  keys.add("train.strict", train.strict, "Equal bits on any number of ranks up to train.shards");
  keys.add("train.shards", train.shards, "strict: logical shards").at_least(1);
  keys.add("train.threads", train.threads, "Of each rank [allowed cores / local ranks]")
      .at_least(1)
      .may_change();
  keys.add("train.amp", train.amp, "Automatic mixed precision").one_of({"none", "bf16", "fp16"});
  keys.add("train.exchange", train.exchange, "How gradients meet").one_of({"fused", "bucketed"});
  keys.add("train.bucket_mb", train.bucket_mb, "bucketed: size of a bucket").above(0);
  keys.add("train.shard_optimizer", train.shard_optimizer, "GPU: divide the optimiser's state");
  keys.add("train.wire", train.wire, "GPU: what gradients travel as between ranks")
      .one_of({"float32", "bf16", "fp16"});
  keys.add("train.graph", train.graph, "GPU: capture the whole step in a CUDA graph")
      .one_of({"auto", "on", "off"});
  keys.add("train.graph_steps", train.graph_steps, "GPU: short steps in one graph")
      .at_least(1)
      .at_most(128);
  keys.add("train.short_ms", train.short_ms, "GPU: a step that takes less is short").at_least(0);
  keys.add("train.recompute", train.recompute,
           "GPU: compute activations again in backward instead of keeping them (gpt)");
  keys.add("train.crop_padding", train.crop_padding,
           "GPU: images are shifted by up to so many pixels, at random")
      .at_least(0);
  keys.add("train.flip", train.flip, "GPU: images are mirrored, at random");
  keys.add("train.device", train.device, "Where it runs")
      .one_of({"auto", "cpu", "cuda"})
      .may_change();
  describe_train_outcome(keys, train);
}

Complaint bad_interval(const std::string& every) {
  if (every == "auto" || every == "never" || parse_seconds(every).value_or(0) > 0) {
    return std::nullopt;
  }
  return "checkpoint.every must be a duration such as 10m, 'auto' or 'never', not '" + every + "'";
}

void describe_checkpoint(Keys& keys, CheckpointSettings& checkpoint) {
  keys.section("checkpoint", "What survives");
  keys.add("checkpoint.every_steps", checkpoint.every_steps, "Steps between checkpoints")
      .at_least(1)
      .may_change();
  keys.add("checkpoint.every", checkpoint.every, "Time between them, 'auto' or 'never'")
      .may_change()
      .placeholder("TIME");
  keys.add("checkpoint.budget", checkpoint.budget, "auto: share of the time they may cost")
      .above(0)
      .at_most(0.5)
      .may_change();
  keys.add("checkpoint.keep", checkpoint.keep, "Newest ones that stay").at_least(1).may_change();
  keys.add("checkpoint.keep_best", checkpoint.keep_best, "The best one stays too").may_change();
  keys.add("checkpoint.async", checkpoint.async, "Write while training goes on").may_change();
  keys.add("checkpoint.direct", checkpoint.direct, "Write past the page cache")
      .one_of({"auto", "on", "off"})
      .may_change();
  keys.add("checkpoint.on_exit", checkpoint.on_exit, "One more when the run ends").may_change();
  keys.check("checkpoint.every", [&checkpoint] { return bad_interval(checkpoint.every); });
}

Complaint bad_rules(const std::string& rules) {
  const std::vector<std::string> known{"vanishing_gradient", "exploding_gradient", "dead_units",
                                       "loss_not_decreasing", "overfit"};
  if (rules == "none" || rules == "all") {
    return std::nullopt;
  }
  for (const auto& word : words(rules)) {
    if (std::ranges::count(known, word) == 0) {
      return "debug.rules: no rule '" + word + "'; they are " + join(known, ", ") + ", or all";
    }
  }
  return std::nullopt;
}

void describe_debug(Keys& keys, DebugSettings& debug) {
  keys.section("debug", "Rules that watch the run");
  const auto threshold = [&](const char* name, double& field, const char* help) {
    keys.add(name, field, help).at_least(0).may_change();
  };
  keys.add("debug.rules", debug.rules,
           "none, all, or of vanishing_gradient exploding_gradient dead_units loss_not_decreasing "
           "overfit")
      .placeholder("RULES")
      .may_change();
  keys.add("debug.action", debug.action, "When one speaks").one_of({"warn", "stop"}).may_change();
  keys.add("debug.every", debug.every, "Steps between looks").at_least(1).may_change();
  threshold("debug.vanishing", debug.vanishing, "Mean absolute gradient that is too small");
  threshold("debug.exploding", debug.exploding,
            "Norm, times its running median, that is too large");
  threshold("debug.dead_share", debug.dead_share, "Share of a layer's units that are dead");
  threshold("debug.active_least", debug.active_least, "Dead: active less often than this");
  keys.add("debug.loss_looks", debug.loss_looks, "Looks the loss is given")
      .at_least(2)
      .may_change();
  threshold("debug.loss_fall", debug.loss_fall, "Share by which it must fall");
  threshold("debug.loss_rise", debug.loss_rise, "Share by which it may rise");
  threshold("debug.overfit", debug.overfit, "(validation - training) / training loss");
  keys.add("debug.overfit_patience", debug.overfit_patience, "Evaluations in a row")
      .at_least(1)
      .may_change();
  keys.check("debug.rules", [&debug] { return bad_rules(debug.rules); });
}

}  // namespace

void describe_run(Keys& keys, JobSettings& job, const std::string& default_name) {
  describe_launch(keys, job,
                  {.heading = "The job",
                   .name = "Identity of the run: its directory is RUNS/NAME [" + default_name + "]",
                   .ranks = "Processes; 0 is one a GPU, or one"});
  keys.add("min_ranks", job.min_ranks, "Go on with fewer ranks, down to this; 0 needs all")
      .at_least(0)
      .may_change();
  keys.add_seconds("grace", job.grace, "From a stop signal to the kill").above(0).may_change();
  keys.add("restarts_per_hour", job.restarts_per_hour, "Restarts after faults before giving up")
      .at_least(0)
      .may_change();
  keys.add("bind", job.bind, "Divide the cores among the ranks").may_change();
  keys.add("notice_file", job.notice_file, "Save and leave when this file appears")
      .may_change()
      .placeholder("FILE");
  keys.add("notice_url", job.notice_url, "aws, gcp or azure: ask it for preemption notices")
      .may_change()
      .placeholder("CLOUD");
  keys.add("runs", job.runs, "Directory of all runs, visible on all nodes")
      .may_change()
      .placeholder("DIR");
}

void describe(Keys& keys, JobSettings& job) {
  describe_run(keys, job, "the file's stem");
  keys.add_seconds("hang_after", job.hang_after, "No progress for so long is a hang").may_change();
  add_model_keys(keys, job.model);
  add_data_keys(keys, job.data);
  describe_optimizer(keys, job.optimizer);
  describe_schedule(keys, job.schedule);
  describe_train(keys, job.train);
  describe_checkpoint(keys, job.checkpoint);
  describe_debug(keys, job.debug);
  keys.section("slurm", "For 'muster submit'");
  keys.open_section("slurm", job.slurm.entries, "An #SBATCH --KEY=TEXT; 'setup', 'srun' repeat")
      .may_change();
}

std::string stem_of(const std::string& file) {
  return std::filesystem::path(file).stem().string();
}

}  // namespace muster
