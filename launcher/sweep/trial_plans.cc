// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/trial_plans.h"

#include <algorithm>

#include "launcher/engine/machine_place.h"
#include "runtime/base/text.h"

namespace muster {

Path sweep_directory(const SweepSettings& settings) {
  return std::filesystem::absolute(Path(settings.sweeps) / settings.name);
}

hpo::StudySetup setup_of(const SweepSettings& settings) {
  return hpo::study_setup(settings.name, settings.tune, settings.search, resumes(settings));
}

bool uses_cards(const SweepSettings& settings, const Machine& machine) {
  return !machine.gpus.empty() && settings.trial.gpus != 0;
}

void see_cards_of_worker(const SweepSettings& settings) {
  if (settings.trial.gpus == 0) {
    see_no_card();
  } else {
    see_only_own_card();
  }
}

std::size_t workers_on(const SweepSettings& settings, const Machine& machine) {
  if (settings.ranks > 0) {
    return static_cast<std::size_t>(settings.ranks);
  }
  const std::size_t natural = uses_cards(settings, machine) ? machine.gpus.size() : 1;
  return settings.tune.parallel > 0
             ? std::min(natural, static_cast<std::size_t>(settings.tune.parallel))
             : natural;
}

std::size_t trials_at_once(const SweepSettings& settings, const Machine& machine) {
  if (settings.tune.parallel > 0) {
    return static_cast<std::size_t>(settings.tune.parallel);
  }
  const auto cpus = static_cast<std::size_t>(std::max(1, settings.trial.cpus.value_or(1)));
  const auto per_gpu = std::max<std::int64_t>(1, parse_int(settings.trial.per_gpu).value_or(1));
  if (uses_cards(settings, machine)) {
    const auto each = static_cast<std::size_t>(settings.trial.gpus.value_or(settings.trial.ranks));
    return std::max<std::size_t>(1, machine.gpus.size() * static_cast<std::size_t>(per_gpu) / each);
  }
  return std::max<std::size_t>(
      1, machine.cpus.size() / cpus / static_cast<std::size_t>(settings.trial.ranks));
}

SlotCost slot_cost(const SweepSettings& settings, const Machine& machine) {
  const bool has_gpus = uses_cards(settings, machine);
  if (has_gpus && settings.trial.per_gpu == "auto" && !needs_processes(settings)) {
    return {};
  }
  const auto all = static_cast<double>(has_gpus ? machine.gpus.size() : machine.cpus.size());
  const double share = all / static_cast<double>(trials_at_once(settings, machine));
  const bool is_thread = !has_gpus && !needs_processes(settings);
  return {.count = is_thread ? std::min(1.0, share) : share, .unit = has_gpus ? "GPU" : "core"};
}

ProgramTrialPlan program_plan(const SweepSettings& settings, const Path& root,
                              const Environment& environment, const std::string& muster) {
  const auto setup = setup_of(settings);
  ProgramTrialPlan plan;
  plan.sweep = settings.name;
  plan.trials = root / "trials";
  if (is_job(settings)) {
    plan.is_job = true;
    plan.command = {muster, "train", std::filesystem::absolute(*settings.trial.job).string(),
                    "--ranks=" + std::to_string(settings.trial.ranks)};
    plan.resource_argument = setup.max_resource() ? "train.epochs" : "";
    plan.resource_metric = "epoch";
  } else {
    plan.command = shell_words(*settings.trial.command);
    plan.resource_argument = settings.tune.resource.value_or("");
  }
  plan.directory = std::filesystem::absolute(settings.trial.directory);
  plan.style = argument_style(settings.trial.arguments);
  for (const auto& entry : settings.trial.metrics) {
    plan.metrics.emplace_back(entry.key, entry.value);
  }
  for (const auto& entry : settings.trial.channels) {
    plan.channels.push_back({.name = entry.key, .path = entry.value, .content_type = ""});
  }
  plan.objective = setup.metric;
  plan.ranks = settings.trial.ranks;
  plan.gpus = settings.trial.gpus;
  plan.memory = settings.trial.memory;
  plan.timeout = settings.trial.timeout;
  plan.grace = settings.trial.grace;
  plan.environment = without_places(environment);
  const LineMetrics check(plan.metrics);  // a bad expression is found before the first trial
  return plan;
}

std::vector<std::string> worker_words(const SweepSettings& settings) {
  if (needs_processes(settings)) {
    return {"--programs", std::filesystem::current_path().string()};
  }
  return job_worker_words(settings);
}

std::vector<std::string> job_worker_words(const SweepSettings& settings) {
  const auto setup = setup_of(settings);
  std::vector<std::string> words{"--job",       std::filesystem::absolute(*settings.trial.job),
                                 "--sweep",     sweep_directory(settings).string(),
                                 "--objective", setup.metric};
  if (const auto most = setup.max_resource()) {
    words.insert(words.end(), {"--max-resource", exact(*most)});
  }
  return words;
}

}  // namespace muster
