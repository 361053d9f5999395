// SPDX-License-Identifier: Apache-2.0
#include "runtime/config/sweep.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/base/text.h"

namespace muster {
namespace {

using Complaint = std::optional<std::string>;

constexpr const char* no_population =
    "population-based training is not built; 'strategy = asha' promotes and resumes trials";
constexpr const char* one_value =
    "several objectives and constraints are not supported; let trials report one number that "
    "weighs them, and write 'objective = max METRIC' or 'min METRIC'";

Complaint bad_objective(const std::string& objective) {
  const auto parts = words(objective);
  if (parts.size() == 2 && (parts[0] == "max" || parts[0] == "min")) {
    return std::nullopt;
  }
  if (objective.empty()) {
    return "tune.objective is missing: write 'objective = max val_accuracy' under [tune]";
  }
  if (objective.find(',') != std::string::npos || parts.size() > 2) {
    return "tune.objective '" + objective + "': " + one_value;
  }
  return "tune.objective must be 'max METRIC' or 'min METRIC', not '" + objective + "'";
}

void describe_parts(Keys& keys, TuneSettings& tune) {
  keys.add("tune.objective", tune.objective, "'max METRIC' or 'min METRIC'")
      .placeholder("'max METRIC'");
  keys.add("tune.strategy", tune.strategy, "Sets searcher and scheduler")
      .one_of({"auto", "bayesian", "hyperband", "asha", "random", "sobol", "grid"})
      .without({"pbt", "pb2"}, no_population);
  keys.add("tune.searcher", tune.searcher, "Proposes trials")
      .one_of({"bayesian", "random", "sobol", "grid"})
      .or_plugin()
      .without({"pbt", "pb2"}, no_population);
  keys.add("tune.scheduler", tune.scheduler, "Spends the budget")
      .one_of({"fifo", "median", "hyperband", "asha"})
      .or_plugin()
      .without({"pbt", "pb2"}, no_population);
  keys.add("tune.acquisition", tune.acquisition, "bayesian: what a trial is chosen by")
      .one_of({"ucb", "logei", "auto"});
  keys.add("tune.exploration", tune.exploration, "bayesian, ucb: 1 is greedy, 2.5 curious")
      .above(0);
  keys.check("tune.objective", [&tune] { return bad_objective(tune.objective); });
  for (const char* name : {"tune.objectives", "tune.constraint", "tune.constraints"}) {
    keys.without(name, one_value);
  }
  keys.without("tune.population", no_population);
}

void describe_limits(Keys& keys, TuneSettings& tune) {
  keys.add("tune.max_trials", tune.max_trials, "Stop after so many trials")
      .at_least(1)
      .may_change();
  keys.add_seconds("tune.max_wall", tune.max_wall, "Stop after so long").above(0).may_change();
  keys.add("tune.max_slot_hours", tune.max_slot_hours, "Stop after so much slot time")
      .above(0)
      .may_change();
  keys.add("tune.target", tune.target, "Stop when a trial reaches this").may_change();
  keys.add("tune.patience", tune.patience, "Stop after so many trials without a 1 % improvement")
      .at_least(3)
      .may_change();
  keys.add("tune.converged", tune.converged, "Stop when the model expects no improvement")
      .may_change();
  keys.add("tune.max_failures", tune.max_failures, "Stop after so many failed trials")
      .at_least(1)
      .may_change();
  keys.add("tune.parallel", tune.parallel, "Trials at once; 0 is what the slots admit")
      .at_least(0)
      .may_change();
  keys.add("tune.retries", tune.retries, "Times a failed trial is tried again")
      .at_least(0)
      .may_change();
}

void describe_resource(Keys& keys, TuneSettings& tune) {
  keys.add("tune.min_resource", tune.min_resource, "The first rung").above(0);
  keys.add("tune.max_resource", tune.max_resource, "A whole trial, such as its epochs").above(0);
  keys.add("tune.resource", tune.resource, "The argument that carries a rung's target");
  keys.add("tune.eta", tune.eta, "One in eta is promoted").above(1);
  keys.add("tune.brackets", tune.brackets, "hyperband, asha: how many").at_least(1);
  keys.add("tune.median_quantile", tune.median_quantile,
           "median: stop below this share of earlier trials")
      .above(0)
      .below(1);
  keys.add("tune.median_trials", tune.median_trials, "median: earlier trials needed").at_least(1);
  keys.add("tune.median_grace", tune.median_grace, "median: reports never judged").at_least(0);
  keys.check("tune.min_resource", [&tune]() -> Complaint {
    if (tune.min_resource && tune.max_resource && *tune.min_resource > *tune.max_resource) {
      return "tune.min_resource is above tune.max_resource";
    }
    return std::nullopt;
  });
}

void describe_trial(Keys& keys, TrialSettings& trial) {
  keys.section("trial", "What a trial is");
  keys.add("trial.job", trial.job, "A Muster job file, or").placeholder("FILE");
  keys.add("trial.command", trial.command, "any program and its arguments");
  keys.add("trial.directory", trial.directory, "Where the command runs").placeholder("DIR");
  keys.add("trial.resumes", trial.resumes, "It continues from its checkpoint [true for jobs]");
  keys.add("trial.ranks", trial.ranks, "Processes of a trial").at_least(1);
  keys.add("trial.cpus", trial.cpus, "Cores of a trial").at_least(1);
  keys.add("trial.gpus", trial.gpus, "GPUs of a trial, where there are any; one a rank unless said")
      .at_least(0);
  keys.add_bytes("trial.memory", trial.memory, "Most memory of a trial");
  keys.add("trial.per_gpu", trial.per_gpu, "Trials that share a slot: 'auto' or a number");
  keys.add("trial.arguments", trial.arguments, "How a program is told its parameters")
      .one_of({"plain", "hydra", "sagemaker2", "sagemaker3"});
  keys.add_seconds("trial.timeout", trial.timeout, "Longest a trial may run").above(0);
  keys.add_seconds("trial.grace", trial.grace, "From TERM to KILL").at_least(0);
  keys.open_section("trial.metric", trial.metrics, "Regular expression over the output");
  keys.open_section("trial.data", trial.channels, "Path of a data channel");
}

void check_trial(Keys& keys, const TrialSettings& trial) {
  keys.check("trial.command", [&trial]() -> Complaint {
    if (trial.job && trial.command) {
      return "trial.job and trial.command exclude each other";
    }
    if (!trial.job && !trial.command) {
      return "a sweep needs [trial] job = FILE.ini, or [trial] command = PROGRAM";
    }
    return std::nullopt;
  });
  keys.check("trial.gpus", [&trial]() -> Complaint {
    if (!trial.job || !trial.gpus || *trial.gpus == 0 || *trial.gpus == trial.ranks) {
      return std::nullopt;
    }
    return fmt::format(
        "trial.gpus = {}, but a job's ranks take one GPU each: 0 (none) or trial.ranks = {}",
        *trial.gpus, trial.ranks);
  });
  keys.check("trial.per_gpu", [&trial]() -> Complaint {
    if (trial.per_gpu == "auto" || parse_int(trial.per_gpu).value_or(0) >= 1) {
      return std::nullopt;
    }
    return "trial.per_gpu must be 'auto' or a whole number of at least 1, not '" + trial.per_gpu +
           "'";
  });
}

void describe_sweep(Keys& keys, SweepSettings& sweep) {
  describe_launch(keys, sweep,
                  {.heading = "The sweep",
                   .name = "Identity of the sweep: its directory is SWEEPS/NAME [the file's stem]",
                   .ranks = "Workers; 0 is one a GPU, or one a set of cores"});
  keys.add("sweeps", sweep.sweeps, "Directory of all sweeps, visible on all nodes")
      .may_change()
      .placeholder("DIR");
}

}  // namespace

void describe_tuning(Keys& keys, TuneSettings& tune, std::vector<Keys::Entry>& search) {
  keys.section("tune", "What is sought, how, and for how long");
  describe_parts(keys, tune);
  describe_limits(keys, tune);
  describe_resource(keys, tune);
  keys.add("tune.seed", tune.seed, "Of every random choice");
  keys.add("tune.ahead", tune.ahead, "Suggestions kept ready [one a slot; 0 with one worker]")
      .at_least(0);
  keys.add("tune.deterministic", tune.deterministic, "No noise: never the same trial twice");
  keys.add("tune.warm_start", tune.warm_start, "An earlier sweep, or a CSV file");
  keys.add("tune.forbid", tune.forbid, "A combination to avoid: 'a == 1 and b > 2'");
  keys.add("tune.start", tune.start, "A point to begin with: 'a=1 b=2'");
  keys.section("search", "The space: 'optimizer.lr = log 1e-4 1e-1'");
  keys.open_section("search", search, "The range of a key");
}

void describe(Keys& keys, SweepSettings& sweep) {
  describe_begun(keys, sweep);
  check_trial(keys, sweep.trial);
}

void describe_begun(Keys& keys, SweepSettings& sweep) {
  describe_sweep(keys, sweep);
  describe_tuning(keys, sweep.tune, sweep.search);
  describe_trial(keys, sweep.trial);
  keys.section("slurm", "For 'muster submit'");
  keys.open_section("slurm", sweep.slurm.entries, "An #SBATCH --KEY=TEXT; 'setup', 'srun' repeat")
      .may_change();
}

}  // namespace muster
