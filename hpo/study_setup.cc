// SPDX-License-Identifier: Apache-2.0
#include "hpo/study_setup.h"

#include <utility>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster::hpo {
namespace {

/// `key` is that of entries without one: tune.forbid and tune.start.
std::vector<SpaceLine> lines_of(std::span<const Keys::Entry> entries, const std::string& key = {}) {
  std::vector<SpaceLine> lines;
  for (const Keys::Entry& entry : entries) {
    lines.push_back({entry.key.empty() ? key : entry.key, entry.value, entry.origin.text()});
  }
  return lines;
}

Space space_of(const TuneSettings& tune, std::span<const Keys::Entry> search) {
  if (search.empty()) {
    throw Error(
        Fault::bad_input,
        "[search] is missing: name what is sought, a line each, as in 'lr = log 1e-4 1e-1'");
  }
  return Space::parse(lines_of(search), lines_of(tune.forbid, "forbid"),
                      lines_of(tune.start, "start"));
}

void read_objective(StudySetup& setup, const std::string& objective) {
  const std::vector<std::string> parts = words(objective);
  if (parts.size() != 2 || (parts[0] != "max" && parts[0] != "min")) {
    throw Error(Fault::bad_input,
                "tune.objective = " + objective +
                    ": one objective, as in 'max val_accuracy'; several objectives and constraints "
                    "are not supported");
  }
  setup.objective = objective;
  setup.maximise = parts[0] == "max";
  setup.metric = parts[1];
}

/// `strategy` names both halves; either can be overridden.
std::pair<std::string, std::string> halves_of(const TuneSettings& tune) {
  const std::string& strategy = tune.strategy;
  std::string searcher = strategy;
  std::string scheduler = "fifo";
  if (strategy == "auto") {
    searcher = "bayesian";
    scheduler = tune.max_resource ? "asha" : "fifo";
  } else if (strategy == "hyperband" || strategy == "asha") {
    searcher = "random";
    scheduler = strategy;
  }
  return {tune.searcher.value_or(searcher), tune.scheduler.value_or(scheduler)};
}

Acquisition acquisition_of(const std::string& name) {
  return name == "logei"  ? Acquisition::logei
         : name == "auto" ? Acquisition::automatic
                          : Acquisition::ucb;
}

Limits limits_of(const TuneSettings& tune) {
  Limits limits;
  const auto number = [](const auto& value) {
    return value ? std::optional(static_cast<double>(*value)) : std::nullopt;
  };
  limits.max_trials = number(tune.max_trials);
  limits.max_wall = tune.max_wall;
  limits.max_slot_hours = tune.max_slot_hours;
  limits.target = tune.target;
  limits.patience = number(tune.patience);
  limits.max_failures = number(tune.max_failures);
  limits.converged = tune.converged;
  return limits;
}

}  // namespace

std::optional<double> StudySetup::max_resource() const {
  return scheduling.max_resource > 0.0 ? std::optional(scheduling.max_resource) : std::nullopt;
}

std::string StudySetup::identity() const {
  const auto line = [](const std::string& key, const std::string& value) {
    return key + " = " + value + "\n";
  };
  return line("objective", objective) + line("searcher", searcher) + line("scheduler", scheduler) +
         line("min_resource", exact(scheduling.min_resource)) +
         line("max_resource", exact(scheduling.max_resource)) + line("eta", exact(scheduling.eta)) +
         line("brackets", std::to_string(scheduling.brackets)) +
         line("resumes", scheduling.resumes ? "true" : "false") +
         line("deterministic", searching.deterministic ? "true" : "false") +
         line("seed", std::to_string(seed)) + space.text();
}

StudySetup study_setup(const std::string& name, const TuneSettings& tune,
                       std::span<const Keys::Entry> search, bool resumes) {
  StudySetup setup;
  setup.name = name;
  read_objective(setup, tune.objective);
  setup.space = space_of(tune, search);
  std::tie(setup.searcher, setup.scheduler) = halves_of(tune);
  setup.seed = tune.seed;
  setup.retries = tune.retries;
  setup.limits = limits_of(tune);

  SchedulerOptions& scheduling = setup.scheduling;
  scheduling.min_resource = tune.min_resource.value_or(0.0);
  scheduling.max_resource = tune.max_resource.value_or(0.0);
  scheduling.eta = tune.eta;
  scheduling.brackets = static_cast<std::size_t>(tune.brackets.value_or(0));
  scheduling.resumes = resumes;
  scheduling.quantile = tune.median_quantile;
  scheduling.peers = static_cast<std::size_t>(tune.median_trials);
  scheduling.grace = static_cast<std::size_t>(tune.median_grace);
  // Promotion alone starves a model of results at full resource: it gets some straight away.
  scheduling.late_share =
      setup.searcher == "bayesian" && setup.scheduler == "asha" ? 1.0 / 3.0 : 0.0;

  SearcherOptions& searching = setup.searching;
  searching.seed = tune.seed;
  searching.deterministic = tune.deterministic;
  searching.acquisition = acquisition_of(tune.acquisition);
  searching.exploration = tune.exploration;
  searching.sources = static_cast<std::uint32_t>(tune.warm_start.size());
  const std::vector<double> rungs = make_scheduler(setup.scheduler, scheduling)->rungs();
  if (!rungs.empty()) {
    searching.min_resource = rungs.front();
    searching.max_resource = rungs.back();
  }
  return setup;
}

}  // namespace muster::hpo
