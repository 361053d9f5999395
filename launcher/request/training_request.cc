// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "launcher/request/request.h"
#include "launcher/request/request_parts.h"
#include "runtime/base/error.h"
#include "runtime/base/file_system.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

using Json = nlohmann::ordered_json;

void read_stopping(RequestReader& request, RequestSettings& settings) {
  std::int64_t seconds = 86400;  // the service's default
  if (const Json* stopping = request.object("StoppingCondition")) {
    RequestReader reader(*stopping, "StoppingCondition", request.findings());
    seconds = reader.integer("MaxRuntimeInSeconds", 1).value_or(seconds);
    const auto wait = reader.integer("MaxWaitTimeInSeconds", 1);
    if (wait && *wait < seconds) {
      reader.violate("MaxWaitTimeInSeconds",
                     fmt::format("{} is below MaxRuntimeInSeconds {}", *wait, seconds));
    }
    reader.cap("MaxRuntimeInSeconds", seconds <= 2419200, "must be at most 2419200 (28 days)");
    reader.ignore({"MaxPendingTimeInSeconds"}, "nothing is waited for here");
  }
  settings.emplace_back("max_runtime", std::to_string(seconds));
}

void read_retries(RequestReader& request, RequestSettings& settings) {
  if (const Json* retry = request.object("RetryStrategy")) {
    RequestReader reader(*retry, "RetryStrategy", request.findings());
    if (const auto times = reader.integer("MaximumRetryAttempts", 1, true)) {
      reader.cap("MaximumRetryAttempts", *times <= 30, "must be at most 30");
      settings.emplace_back("restarts_per_hour", std::to_string(*times));
    }
  }
}

/// "numpy==1.26 ; python_version > '3'" is numpy.
std::string module_of(std::string_view line) {
  line = trim(line.substr(0, line.find('#')));
  const auto end = line.find_first_of(" \t=<>!~;[@");
  return std::string(line.substr(0, end));
}

}  // namespace

TranslatedRequest translate_training_request(std::string_view json, const AwsMap& aws,
                                             bool strict) {
  const Json document = Json::parse(json, nullptr, false);
  if (!document.is_object()) {
    throw Error(Fault::bad_input,
                "the request is not a JSON object: give the body of CreateTrainingJob");
  }
  RequestFindings findings{.strict = strict, .violations = {}, .notes = {}};
  TranslatedRequest result;
  {
    RequestReader request(document, "", findings);
    auto& settings = result.settings;
    read_name(request, "TrainingJobName", 63, settings);
    const auto hyperparameters = request.map("HyperParameters");
    request.cap("HyperParameters", hyperparameters.size() <= 100, "must be at most 100");
    const auto algorithm = read_algorithm(request, aws, "metric", settings);
    const auto environment = request.map("Environment");
    request.cap("Environment", environment.size() <= 100, "must be at most 100");
    settings.emplace_back(
        "command",
        with_environment(environment, program_of(request, "HyperParameters", hyperparameters,
                                                 algorithm.command, aws)));
    settings.emplace_back("arguments", "sagemaker2");
    read_channels(request, aws, "data", settings);
    const auto instances = read_resources(request, "ResourceConfig", aws, "", settings);
    settings.emplace_back("ranks", std::to_string(instances));
    read_stopping(request, settings);
    read_retries(request, settings);
    request.boolean("EnableManagedSpotTraining");
    request.ignore({"CheckpointConfig"},
                   "checkpoints stay in the run's own directory (MUSTER_CHECKPOINT_DIR)");
    request.ignore(
        {"RoleArn", "OutputDataConfig", "VpcConfig", "Tags", "EnableNetworkIsolation",
         "EnableInterContainerTrafficEncryption", "DebugHookConfig", "DebugRuleConfigurations",
         "ProfilerConfig", "ProfilerRuleConfigurations", "TensorBoardOutputConfig",
         "ExperimentConfig", "RemoteDebugConfig", "InfraCheckConfig", "SessionChainingConfig",
         "ServerlessJobConfig", "MlflowConfig", "ModelPackageConfig"},
        "has no meaning here");
    for (const auto& [key, word] : hyperparameters) {
      settings.emplace_back("hyperparameter." + key, word);
    }
  }
  findings.finish("the request");
  result.notes = findings.notes;
  return result;
}

std::optional<std::string> missing_modules_note(const std::string& command) {
  std::string python = "python3";
  for (const auto& word : shell_words(command)) {
    if (!word.ends_with(".py")) {
      python = word;
      continue;
    }
    const auto requirements = Path(word).parent_path() / "requirements.txt";
    const auto missing = missing_modules(requirements.string(), shell_quoted(python));
    if (missing.empty()) {
      return std::nullopt;
    }
    return fmt::format("{} names modules that {} does not have: {} ({} -m pip install -r {})",
                       requirements.string(), python, join(missing, ", "), python,
                       requirements.string());
  }
  return std::nullopt;
}

std::vector<std::string> missing_modules(const std::string& requirements,
                                         const std::string& python) {
  const auto text = read_file_if_there(requirements);
  std::string names;
  for (const auto& line : split(text.value_or(""), '\n')) {
    if (const auto name = module_of(line); !name.empty() && name.front() != '-') {
      names += " " + shell_quoted(name);
    }
  }
  if (names.empty()) {
    return {};
  }
  const std::string script =
      "import sys, importlib.metadata as m\nfor n in sys.argv[1:]:\n  try: m.version(n)\n  except "
      "Exception: print(n)\n";
  const std::string command = python + " -c " + shell_quoted(script) + names + " 2>/dev/null";
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(command.c_str(), "r"), ::pclose);
  std::string output;
  std::array<char, 4096> block{};
  for (std::size_t got = 1; pipe && got > 0;) {
    got = std::fread(block.data(), 1, block.size(), pipe.get());
    output.append(block.data(), got);
  }
  return words(output);
}

}  // namespace muster
