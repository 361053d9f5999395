/// SweepSettings: everything a tuning sweep can be told, with its defaults. One struct a section.
/// The space itself ([search], tune.forbid, tune.start) is kept as text: its grammar is hpo/'s.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/config/job.h"
#include "runtime/config/keys.h"

namespace muster {

struct TuneSettings {
  std::string objective;          ///< "max val_accuracy"
  std::string strategy = "auto";  ///< sets searcher and scheduler; either can be overridden
  std::optional<std::string> searcher, scheduler;  ///< or plugin:libmine.so
  std::optional<std::int64_t> max_trials;
  std::optional<double> max_wall;  ///< seconds
  std::optional<double> max_slot_hours;
  std::optional<double> target;
  std::optional<int> patience;  ///< trials without an improvement of 1 %
  std::optional<int> max_failures;
  int parallel = 0;  ///< trials at once; 0: what the slots admit
  std::optional<double> min_resource, max_resource;
  std::optional<std::string> resource;  ///< the argument that carries a rung's target
  double eta = 3;
  std::optional<int> brackets;
  double median_quantile = 0.5;     ///< worse than this share of the earlier trials is stopped
  int median_trials = 5;            ///< earlier trials needed before anyone is stopped
  int median_grace = 1;             ///< reports that are never judged
  std::string acquisition = "ucb";  ///< bayesian: ucb, logei or auto
  double exploration = 1.8;         ///< of ucb: 1 is greedy, 2.5 curious
  std::uint64_t seed = 0;
  int retries = 1;
  std::optional<int> ahead;             ///< suggestions kept ready; default: one a slot
  bool deterministic = false;           ///< the objective has no noise: never the same trial twice
  bool converged = false;               ///< stop when the model expects no more improvement
  std::vector<std::string> warm_start;  ///< earlier sweeps, or CSV files
  std::vector<Keys::Entry> forbid, start;  ///< only value and origin
};

struct TrialSettings {
  std::optional<std::string> job;      ///< a Muster job file, or
  std::optional<std::string> command;  ///< any program, split as a shell splits
  std::string directory = ".";         ///< where the command runs
  std::optional<bool> resumes;         ///< default: true for Muster jobs
  int ranks = 1;
  std::optional<int> cpus;
  std::optional<int> gpus;
  std::optional<std::uint64_t> memory;
  std::string per_gpu = "auto";       ///< or a number: trials that share a slot
  std::string arguments = "plain";    ///< plain, hydra, sagemaker2, sagemaker3
  std::optional<double> timeout;      ///< seconds a trial may run
  double grace = 30;                  ///< seconds from TERM to KILL
  std::vector<Keys::Entry> metrics;   ///< metric.NAME: regular expression over the output
  std::vector<Keys::Entry> channels;  ///< data.CHANNEL: path
};

struct SweepSettings : LaunchSettings {
  std::string sweeps = "sweeps";  ///< directory of all sweeps, visible on all nodes

  TuneSettings tune;
  std::vector<Keys::Entry> search;  ///< raw, in file order
  TrialSettings trial;
  SlurmSettings slurm;
};

/// Binds every key of a sweep to `sweep`, which must outlive `keys` and not move.
void describe(Keys& keys, SweepSettings& sweep);
/// The same for the file of a sweep that was begun: `muster ask-tell` knows no way to run a trial.
void describe_begun(Keys& keys, SweepSettings& sweep);
/// The part of it that a searcher and a scheduler need, without any way to run a trial.
void describe_tuning(Keys& keys, TuneSettings& tune, std::vector<Keys::Entry>& search);

}  // namespace muster
