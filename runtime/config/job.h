/// JobSettings: everything a training job can be told, with its defaults. One struct a section.
/// Modules of the training path take the struct of their section and nothing else.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/config/data_settings.h"
#include "runtime/config/keys.h"
#include "runtime/config/launch_settings.h"
#include "runtime/config/model_settings.h"

namespace muster {

struct OptimizerSettings {
  std::string kind = "sgd";  ///< sgd, adam, adamw
  double lr = 0.1;
  double momentum = 0;
  bool nesterov = false;
  double weight_decay = 0;
  std::vector<double> betas{0.9, 0.999};
  double eps = 1e-8;
  std::optional<double> clip;         ///< largest global norm of the gradient
  std::vector<std::string> no_decay;  ///< patterns of parameter names without weight decay
  std::vector<std::string> rate;      ///< "pattern factor": lr of matching names times factor
};

struct ScheduleSettings {
  std::string kind = "constant";  ///< constant, step, cosine, one_cycle
  std::uint64_t warmup_steps = 0;
  double warmup_epochs = 0;
  double every = 30;           ///< step: epochs between cuts
  double factor = 0.1;         ///< step: of a cut
  double final_share = 0;      ///< cosine: ends at lr times this
  double rise_share = 0.3;     ///< one_cycle: share of the steps in which the rate rises
  double start_divisor = 25;   ///< one_cycle: starts at lr / this
  double final_divisor = 1e4;  ///< one_cycle: ends at that start / this
};

struct TrainSettings {
  int epochs = 10;
  std::optional<std::int64_t> steps;  ///< ends the run earlier than epochs
  int batch_size = 64;                ///< global
  int accumulate = 1;                 ///< micro-batches a step
  std::string loss = "auto";          ///< auto, cross_entropy, mse, mae, bce
  double label_smoothing = 0;
  std::vector<std::string> metric;  ///< accuracy, top5, perplexity, mae, auc; default by loss
  std::uint64_t seed = 0;
  bool strict = false;             ///< equal bits on any number of ranks up to `shards`
  int shards = 4;                  ///< strict: logical shards
  std::optional<int> threads;      ///< of each rank; default: allowed cores / local ranks
  std::string amp = "none";        ///< none, bf16, fp16 (GPU)
  std::string exchange = "fused";  ///< fused, bucketed
  double bucket_mb = 25;
  bool shard_optimizer = false;        ///< GPU: optimiser state divided among ranks
  std::string wire = "float32";        ///< GPU: of gradients between ranks: float32, bf16, fp16
  std::string graph = "auto";          ///< GPU: auto, on, off
  int graph_steps = 8;                 ///< GPU: short steps in one graph
  double short_ms = 2;                 ///< GPU: what takes less is a short step
  int crop_padding = 0;                ///< GPU: images are shifted at random, by up to so many
  bool flip = false;                   ///< GPU: images are mirrored at random
  bool recompute = false;              ///< GPU: activations are computed again in backward
  std::string device = "auto";         ///< auto, cpu, cuda
  std::string on_nan = "stop";         ///< stop, skip
  std::optional<std::string> profile;  ///< "a-b": steps to trace
  int evaluate_every = 1;              ///< epochs; 0 is never
  std::string monitor = "auto";        ///< "max val_accuracy": what best and patience look at
  std::optional<int> patience;         ///< evaluations without improvement before stopping
  double min_delta = 0;
  std::optional<double> ema;  ///< decay of the averaged weights
  int report_every = 0;       ///< steps between metric lines; 0 is by epoch
  bool tensorboard = true;
  bool progress = true;                                                 ///< the live line
  std::vector<std::string> save{"hdf5", "torchscript", "safetensors"};  ///< forms of model/
};

struct CheckpointSettings {
  std::optional<std::int64_t> every_steps;
  std::string every = "auto";  ///< "10m", "auto" (by measured cost) or "never"
  double budget = 0.01;        ///< auto: share of the time that checkpoints may cost
  int keep = 3;
  bool keep_best = true;
  bool async = true;
  std::string direct = "auto";  ///< auto, on, off: past the page cache
  bool on_exit = true;          ///< one more when the run ends
};

/// The rules that watch a run, and their thresholds.
struct DebugSettings {
  std::string rules = "none";   ///< none, all, or their names: vanishing_gradient,
                                ///< exploding_gradient, dead_units, loss_not_decreasing, overfit
  std::string action = "warn";  ///< warn, stop
  int every = 50;               ///< steps between looks
  double vanishing = 1e-7;      ///< mean absolute gradient below which it vanishes
  double exploding = 1e3;       ///< times the running median of the norm
  double dead_share = 0.5;      ///< share of a layer's units ...
  double active_least = 0.01;   ///< ... active less often than this
  int loss_looks = 10;          ///< looks over which the loss must fall ...
  double loss_fall = 0.001;     ///< ... by this share
  double loss_rise = 0.05;      ///< or at most rise by this share
  double overfit = 0.1;         ///< (validation - training) / training loss
  int overfit_patience = 1;
};

/// [slurm]: any key is an #SBATCH --key=value; setup lines and srun words are kept apart by who
/// writes the script.
struct SlurmSettings {
  std::vector<Keys::Entry> entries;
};

struct JobSettings : LaunchSettings {
  int min_ranks = 0;  ///< go on with fewer when a host is lost; 0: all are needed
  double grace = 30;  ///< seconds from a stop signal to the kill
  int restarts_per_hour = 6;
  std::optional<double> hang_after;  ///< seconds without progress; default max(30, 20 medians)
  bool bind = true;                  ///< divide the cores among ranks
  std::string notice_file;           ///< its appearance asks the run to save and leave
  std::string notice_url;            ///< "aws", "gcp", "azure", or with an address; "" is none
  std::string runs = "runs";         ///< visible on all nodes

  ModelSettings model;
  DataSettings data;
  OptimizerSettings optimizer;
  ScheduleSettings schedule;
  TrainSettings train;
  CheckpointSettings checkpoint;
  DebugSettings debug;
  SlurmSettings slurm;
};

/// Binds every key of a training job to `job`, which must outlive `keys` and not move.
void describe(Keys& keys, JobSettings& job);
/// Of these, the keys without a section that hold for any program. `default_name` says what names a
/// run that has no name.
void describe_run(Keys& keys, JobSettings& job, const std::string& default_name);

/// The run's name when the file says none: its stem, "configs/mnist.ini" -> "mnist".
std::string stem_of(const std::string& file);

}  // namespace muster
