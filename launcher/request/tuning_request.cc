// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "launcher/request/request.h"
#include "launcher/request/request_parts.h"
#include "launcher/request/request_ranges.h"
#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

using Json = nlohmann::ordered_json;

void read_criteria(RequestReader& config, RequestSettings& settings) {
  const Json* value = config.object("TuningJobCompletionCriteria");
  if (value == nullptr) {
    return;
  }
  RequestReader reader(*value, config.path_of("TuningJobCompletionCriteria"), config.findings());
  if (const auto target = reader.number("TargetObjectiveMetricValue")) {
    settings.emplace_back("tune.target", exact(*target));
  }
  if (const Json* improving = reader.object("BestObjectiveNotImproving")) {
    RequestReader inner(*improving, reader.path_of("BestObjectiveNotImproving"), config.findings());
    if (const auto count = inner.integer("MaxNumberOfTrainingJobsNotImproving", 3)) {
      settings.emplace_back("tune.patience", std::to_string(*count));
    }
  }
  if (const Json* convergence = reader.object("ConvergenceDetected")) {
    RequestReader inner(*convergence, reader.path_of("ConvergenceDetected"), config.findings());
    if (inner.word("CompleteOnConvergence", {"Enabled", "Disabled"}) == "Enabled") {
      settings.emplace_back("tune.converged", "true");
    }
  }
}

struct Limits {
  std::optional<std::int64_t> trials;
};

Limits read_limits(RequestReader& config, const std::string& strategy, RequestSettings& settings) {
  Limits limits;
  const Json* value = config.object("ResourceLimits", true);
  if (value == nullptr) {
    return limits;
  }
  RequestReader reader(*value, config.path_of("ResourceLimits"), config.findings());
  const auto parallel = reader.integer("MaxParallelTrainingJobs", 1, true);
  limits.trials = reader.integer("MaxNumberOfTrainingJobs", 1);
  const auto seconds = reader.integer("MaxRuntimeInSeconds", 1);
  reader.cap("MaxParallelTrainingJobs", parallel.value_or(1) <= 100, "must be at most 100");
  reader.cap("MaxNumberOfTrainingJobs",
             limits.trials.value_or(1) <= (strategy == "Random" ? 10000 : 750),
             strategy == "Random" ? "must be at most 10000" : "must be at most 750");
  reader.cap("MaxRuntimeInSeconds", !seconds || (*seconds >= 120 && *seconds <= 15768000),
             "must be between 120 and 15768000");
  if (parallel) {
    settings.emplace_back("tune.parallel", std::to_string(*parallel));
  }
  if (limits.trials) {
    settings.emplace_back("tune.max_trials", std::to_string(*limits.trials));
  }
  if (seconds) {
    settings.emplace_back("tune.max_wall", std::to_string(*seconds));
  }
  return limits;
}

/// The service infers a missing MaxResource from a static hyper-parameter of one of these names.
std::optional<std::int64_t> inferred_resource(const RequestSettings& fixed, std::string& key) {
  for (const std::string name : {"epochs", "numepochs", "n-epochs", "n_epochs", "num_epochs"}) {
    for (const auto& [fixed_key, word] : fixed) {
      if (const auto count = fixed_key == name ? parse_int(word) : std::nullopt;
          count && *count >= 1) {
        key = name;
        return count;
      }
    }
  }
  return std::nullopt;
}

void read_hyperband(RequestReader& config, const RequestSettings& fixed,
                    RequestSettings& settings) {
  std::optional<std::int64_t> least;
  std::optional<std::int64_t> most;
  if (const Json* strategy = config.object("StrategyConfig")) {
    RequestReader outer(*strategy, config.path_of("StrategyConfig"), config.findings());
    if (const Json* value = outer.object("HyperbandStrategyConfig")) {
      RequestReader reader(*value, outer.path_of("HyperbandStrategyConfig"), config.findings());
      least = reader.integer("MinResource", 1);
      most = reader.integer("MaxResource", 1);
      if (least && most && *least > *most) {
        reader.violate("MaxResource", fmt::format("{} is below MinResource {}", *most, *least));
      }
    }
  }
  std::string key;
  if (!most) {
    most = inferred_resource(fixed, key);
  }
  if (!most) {
    config.violate("StrategyConfig.HyperbandStrategyConfig.MaxResource",
                   "is missing, and no static hyper-parameter epochs, numepochs, n-epochs, "
                   "n_epochs or num_epochs tells it");
    return;
  }
  if (least) {
    settings.emplace_back("tune.min_resource", std::to_string(*least));
  }
  settings.emplace_back("tune.max_resource", std::to_string(*most));
}

void read_warm_start(RequestReader& request, const std::string& strategy,
                     RequestSettings& settings) {
  const Json* value = request.object("WarmStartConfig");
  if (value == nullptr) {
    return;
  }
  RequestReader reader(*value, "WarmStartConfig", request.findings());
  reader.word("WarmStartType", {"IdenticalDataAndAlgorithm", "TransferLearning"}, true);
  const auto parents = reader.list("ParentHyperParameterTuningJobs", true);
  reader.cap("ParentHyperParameterTuningJobs", !parents.empty() && parents.size() <= 5,
             "must be 1 to 5");
  if (strategy == "Hyperband" || strategy == "Grid") {
    request.violate("WarmStartConfig", fmt::format("is for Bayesian and Random, not {}", strategy));
  }
  for (std::size_t i = 0; i < parents.size(); ++i) {
    RequestReader parent(*parents[i],
                         fmt::format("WarmStartConfig.ParentHyperParameterTuningJobs[{}]", i),
                         request.findings());
    if (const auto name = parent.text("HyperParameterTuningJobName", true)) {
      settings.emplace_back("tune.warm_start", *name);
    }
  }
}

/// The definition of the trials. Returns its static hyper-parameters.
RequestSettings read_definition(RequestReader& request, const AwsMap& aws,
                                const std::string& metric, RequestSettings& settings) {
  const auto several = request.list("TrainingJobDefinitions");
  if (!several.empty()) {
    request.violate("TrainingJobDefinitions",
                    "several definitions are not supported: use TrainingJobDefinition");
  }
  const Json* value = request.object("TrainingJobDefinition", several.empty());
  if (value == nullptr) {
    return {};
  }
  RequestReader reader(*value, "TrainingJobDefinition", request.findings());
  const auto fixed = reader.map("StaticHyperParameters");
  reader.cap("StaticHyperParameters", fixed.size() <= 100, "must be at most 100");
  const auto algorithm = read_algorithm(reader, aws, "trial.metric", settings);
  if (!metric.empty() && !algorithm.metrics.empty() &&
      std::ranges::find(algorithm.metrics, metric) == algorithm.metrics.end()) {
    reader.violate("AlgorithmSpecification.MetricDefinitions",
                   fmt::format("do not define the objective {}", metric));
  }
  reader.cap("AlgorithmSpecification.MetricDefinitions", !algorithm.metrics.empty(),
             "must define the objective");
  const auto environment = reader.map("Environment");
  reader.cap("Environment", environment.size() <= 48, "must be at most 48");
  settings.emplace_back("trial.command",
                        with_environment(environment, program_of(reader, "StaticHyperParameters",
                                                                 fixed, algorithm.command, aws)));
  settings.emplace_back("trial.arguments", "sagemaker2");
  read_channels(reader, aws, "trial.data", settings);
  const auto one = read_resources(reader, "ResourceConfig", aws, "trial.", settings);
  const auto other =
      read_resources(reader, "HyperParameterTuningResourceConfig", aws, "trial.", settings);
  settings.emplace_back("trial.ranks", std::to_string(std::max(one, other)));
  if (const Json* stopping = reader.object("StoppingCondition")) {
    RequestReader inner(*stopping, "TrainingJobDefinition.StoppingCondition", request.findings());
    if (const auto seconds = inner.integer("MaxRuntimeInSeconds", 1)) {
      settings.emplace_back("trial.timeout", std::to_string(*seconds));
    }
    inner.ignore({"MaxWaitTimeInSeconds", "MaxPendingTimeInSeconds"}, "nothing is waited for here");
  }
  if (const Json* retry = reader.object("RetryStrategy")) {
    RequestReader inner(*retry, "TrainingJobDefinition.RetryStrategy", request.findings());
    if (const auto times = inner.integer("MaximumRetryAttempts", 1, true)) {
      inner.cap("MaximumRetryAttempts", *times <= 30, "must be at most 30");
      settings.emplace_back("tune.retries", std::to_string(*times));
    }
  }
  if (const Json* checkpoint = reader.object("CheckpointConfig")) {
    RequestReader inner(*checkpoint, "TrainingJobDefinition.CheckpointConfig", request.findings());
    inner.ignore({"S3Uri"}, "checkpoints stay in the trial's own directory");
    inner.ignore({"LocalPath"},
                 "the path is in MUSTER_CHECKPOINT_DIR and input/config/checkpointconfig.json");
    settings.emplace_back("trial.resumes", "true");
  }
  reader.boolean("EnableManagedSpotTraining");  // every trial survives preemption here
  reader.ignore(
      {"DefinitionName", "TuningObjective", "HyperParameterRanges", "RoleArn", "VpcConfig",
       "OutputDataConfig", "EnableNetworkIsolation", "EnableInterContainerTrafficEncryption"},
      "has no meaning here");
  for (const auto& [key, word] : fixed) {
    settings.emplace_back("search." + key, "const " + quoted(word));
  }
  return fixed;
}

struct Objective {
  std::string metric;
};

Objective read_objective(RequestReader& config, RequestSettings& settings) {
  const Json* value = config.object("HyperParameterTuningJobObjective", true);
  if (value == nullptr) {
    return {};
  }
  RequestReader reader(*value, config.path_of("HyperParameterTuningJobObjective"),
                       config.findings());
  const auto type = reader.word("Type", {"Maximize", "Minimize"}, true);
  const auto metric = reader.text("MetricName", true);
  if (type && metric) {
    settings.emplace_back("tune.objective", (*type == "Maximize" ? "max " : "min ") + *metric);
  }
  return {.metric = metric.value_or("")};
}

void read_strategy(RequestReader& config, const std::string& strategy, const Ranges& ranges,
                   const Limits& limits, const RequestSettings& fixed, RequestSettings& settings) {
  const auto stopping =
      config.word("TrainingJobEarlyStoppingType", {"Off", "Auto"}).value_or("Off");
  if (strategy == "Hyperband") {
    settings.emplace_back("tune.strategy", "asha");
    config.note(
        "Strategy",
        "Hyperband is asynchronous successive halving, as in the service (strategy = asha)");
    read_hyperband(config, fixed, settings);
    if (stopping == "Auto") {
      config.violate("TrainingJobEarlyStoppingType", "must be Off with Hyperband");
    }
    return;
  }
  if (config.has("StrategyConfig")) {
    config.object("StrategyConfig");
    config.violate("StrategyConfig", fmt::format("is for Hyperband, not {}", strategy));
  }
  settings.emplace_back("tune.strategy", strategy == "Grid"     ? "grid"
                                         : strategy == "Random" ? "random"
                                                                : "bayesian");
  if (stopping == "Auto") {
    settings.emplace_back("tune.scheduler", "median");
  }
  if (strategy == "Grid" && !ranges.all_categorical) {
    config.violate("ParameterRanges", "Grid needs categorical ranges only");
  }
  if (strategy == "Grid" && limits.trials &&
      static_cast<double>(*limits.trials) != ranges.combinations) {
    config.violate("ResourceLimits.MaxNumberOfTrainingJobs",
                   fmt::format("must be left out or be {}, the number of combinations, not {}",
                               ranges.combinations, *limits.trials));
  }
}

}  // namespace

std::vector<std::string> TranslatedRequest::arguments() const {
  std::vector<std::string> words;
  for (const auto& [key, value] : settings) {
    words.push_back("--" + key + "=" + value);
  }
  return words;
}

bool is_request(std::string_view text) {
  return trim(text).starts_with('{');
}

TranslatedRequest translate_tuning_request(std::string_view json, const AwsMap& aws, bool strict) {
  const Json document = Json::parse(json, nullptr, false);
  if (!document.is_object()) {
    throw Error(Fault::bad_input,
                "the request is not a JSON object: give the body of CreateHyperParameterTuningJob");
  }
  RequestFindings findings{.strict = strict, .violations = {}, .notes = {}};
  TranslatedRequest result;
  {
    RequestReader request(document, "", findings);
    read_name(request, "HyperParameterTuningJobName", 32, result.settings);
    static const Json empty = Json::object();
    const Json* value = request.object("HyperParameterTuningJobConfig", true);
    RequestReader config(value == nullptr ? empty : *value, "HyperParameterTuningJobConfig",
                         findings);
    const auto strategy = config.word("Strategy", {"Bayesian", "Random", "Hyperband", "Grid"}, true)
                              .value_or("Bayesian");
    const auto objective = read_objective(config, result.settings);
    const auto limits = read_limits(config, strategy, result.settings);
    const auto ranges = read_ranges(config, "ParameterRanges");
    const auto fixed = read_definition(request, aws, objective.metric, result.settings);
    read_strategy(config, strategy, ranges, limits, fixed, result.settings);
    read_criteria(config, result.settings);
    read_warm_start(request, strategy, result.settings);
    if (const auto seed = config.integer("RandomSeed", 0)) {
      result.settings.emplace_back("tune.seed", std::to_string(*seed));
    }
    if (strict && limits.trials && static_cast<double>(*limits.trials) > ranges.combinations) {
      config.violate("ResourceLimits.MaxNumberOfTrainingJobs",
                     fmt::format("is {}, but there are only {} combinations", *limits.trials,
                                 ranges.combinations));
    }
    for (const auto& setting : ranges.settings) {
      result.settings.push_back(setting);
    }
    if (const Json* autotune = request.object("Autotune")) {
      RequestReader(*autotune, "Autotune", findings).word("Mode", {"Enabled"}, true);
      request.violate("Autotune", "is not supported: give every parameter a range");
    }
    request.ignore({"Tags"}, "has no meaning here");
  }
  findings.finish("the request");
  result.notes = findings.notes;
  return result;
}

}  // namespace muster
