/// What the settings of a job mean for the engine: rules with every number worked out, and what
/// cannot be, said before anything starts. Pure: nothing is opened or allocated here.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "runtime/config/job.h"
#include "runtime/data/dataset.h"
#include "runtime/train/gpu_step.h"
#include "runtime/train/schedule.h"
#include "runtime/train/segments.h"
#include "runtime/train/update.h"

namespace muster {

class Model;

/// How long a run is, in steps.
struct RunLength {
  std::uint64_t steps_per_epoch = 0;
  std::uint64_t steps = 0;  ///< of the whole run
  std::uint64_t epoch_of(std::uint64_t step) const { return step / steps_per_epoch; }
};

RunLength run_length(const JobSettings& job, std::uint64_t rows);
OptimizerRule optimizer_rule(const OptimizerSettings& optimizer, const TrainSettings& train);
ScheduleRule schedule_rule(const ScheduleSettings& schedule, double rate, const RunLength& length);
GroupRules group_rules(const OptimizerSettings& optimizer, const ModelSettings& model);

/// What "better" means: "max val_accuracy", "min val_loss". `auto` is the validation loss.
struct Monitor {
  std::string metric = "val_loss";
  bool higher_is_better = false;
  bool improves(double value, double best, double least_change) const;
};
Monitor parse_monitor(const std::string& text);

/// "100-110" of train.profile: first and last step, counted from 1.
std::optional<std::pair<std::uint64_t, std::uint64_t>> profile_steps(const TrainSettings& train);

/// What a job asks of the GPU. Throws bad_input for what GPUs do not do.
GpuStep::Options gpu_options(const JobSettings& job, const DataShape& shape,
                             const RunLength& length, int ranks);

/// What trials that take equal memory have in common.
std::string memory_kind(const JobSettings& job, const Model& model);
/// Bytes that a trial takes, where none like it was ever seen: parameters, gradients, state and as
/// much again for the work.
std::uint64_t memory_guess(const Model& model);

/// Whether a model of this kind draws its random numbers from torch's own generator.
bool draws_from_torch(std::string_view kind);

/// Throws bad_input for what only GPUs do.
void check_cpu_job(const TrainSettings& train);

/// A step that computes `compiled` samples a call, where the ranks' parts do not fill them: what
/// that wastes.
std::optional<std::string> filling_remark(const JobSettings& job, std::int64_t compiled, int ranks);

/// Throws bad_input with what, where and remedy: a batch larger than the set, fewer samples than
/// ranks, what strict mode cannot keep.
void check_job(const JobSettings& job, const Model& model, const Dataset& data, int ranks,
               int nodes);

}  // namespace muster
