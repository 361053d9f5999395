// SPDX-License-Identifier: Apache-2.0
#include "launcher/request/request_parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <regex>

#include "launcher/engine/tool.h"
#include "runtime/base/file_system.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

using Json = nlohmann::ordered_json;

std::string unencoded(const std::string& word) {
  const Json value = Json::parse(word, nullptr, false);
  return value.is_string() ? value.get<std::string>() : word;
}

std::string value_of(const RequestSettings& settings, const std::string& key) {
  const auto found = std::ranges::find(settings, key, &std::pair<std::string, std::string>::first);
  return found == settings.end() ? "" : unencoded(found->second);
}

std::string metric_definition(const Json& definition, const std::string& path,
                              RequestFindings& findings, const std::string& prefix,
                              RequestSettings& settings) {
  RequestReader reader(definition, path, findings);
  const auto name = reader.text("Name", true);
  const auto expression = reader.text("Regex", true);
  if (name && expression) {
    reader.cap("Name", !name->empty() && name->size() <= 255, "must have 1 to 255 characters");
    reader.cap("Regex", !expression->empty() && expression->size() <= 500,
               "must have 1 to 500 characters");
    settings.emplace_back(prefix + "." + *name, *expression);
  }
  return name.value_or("");
}

void channel(const Json& value, const std::string& path, RequestFindings& findings,
             const AwsMap& aws, const std::string& prefix, RequestSettings& settings) {
  RequestReader reader(value, path, findings);
  const auto name = reader.text("ChannelName", true);
  reader.ignore(
      {"ContentType", "CompressionType", "RecordWrapperType", "InputMode", "ShuffleConfig"},
      "the program reads its files as they are");
  const Json* source = reader.object("DataSource", true);
  if (source == nullptr) {
    return;
  }
  RequestReader sources(*source, reader.path_of("DataSource"), findings);
  std::optional<std::string> uri;
  if (const Json* s3 = sources.object("S3DataSource")) {
    RequestReader inner(*s3, sources.path_of("S3DataSource"), findings);
    uri = inner.text("S3Uri", true);
    inner.word("S3DataType", {"S3Prefix", "ManifestFile", "AugmentedManifestFile", "Converse"});
    const auto spread = inner.word("S3DataDistributionType", {"FullyReplicated", "ShardedByS3Key"});
    if (spread == "ShardedByS3Key") {
      inner.note("S3DataDistributionType", "all ranks see all files here");
    }
    inner.ignore({"AttributeNames", "InstanceGroupNames"}, "has no meaning here");
  } else if (const Json* file_system = sources.object("FileSystemDataSource")) {
    RequestReader inner(*file_system, sources.path_of("FileSystemDataSource"), findings);
    uri = inner.text("DirectoryPath", true);
    inner.ignore({"FileSystemId", "FileSystemType", "FileSystemAccessMode"},
                 "the directory is taken as it is mounted here");
  } else {
    reader.violate("DataSource", "names neither S3DataSource nor FileSystemDataSource");
  }
  if (name && uri) {
    if (const auto local = aws.path_of(*uri)) {
      settings.emplace_back(prefix + "." + *name, *local);
    } else {
      reader.violate(
          "DataSource",
          fmt::format("{} is not known here: add 'path = {} DIRECTORY' to [aws]", *uri, *uri));
    }
  }
}

constexpr std::string_view archive_end = ".tar.gz";

/// Where an archive's program lies: beside it or in a folder of its name, where somebody has
/// unpacked it, else in that folder, unpacked now.
std::string unpacked(RequestReader& reader, const std::string& field, const std::string& archive,
                     const std::string& program) {
  auto& files = posix_file_system();
  const std::string beside = Path(archive).parent_path().string();
  const std::string folder = archive.substr(0, archive.size() - archive_end.size());
  if (files.exists(Path(folder) / program)) {
    return folder;
  }
  if (files.exists(Path(beside) / program) || !files.exists(archive)) {
    reader.note(field, fmt::format("taken as unpacked in {}", beside));
    return beside;
  }
  files.make_directory(folder);
  const auto answer = run_tool({"tar", "-xzf", archive, "-C", folder}, std::chrono::minutes(5));
  if (!answer.ended.finished()) {
    reader.violate(field, fmt::format("{} cannot be unpacked: {}", archive, trim(answer.output)));
  } else if (!files.exists(Path(folder) / program)) {
    reader.violate(field, fmt::format("there is no {} in {}", program, archive));
  } else {
    reader.note(field, fmt::format("unpacked into {}", folder));
  }
  return folder;
}

}  // namespace

void read_name(RequestReader& reader, const std::string& field, std::size_t most,
               RequestSettings& settings) {
  const auto name = reader.text(field, true);
  if (!name) {
    return;
  }
  static const std::regex shape("[a-zA-Z0-9](-*[a-zA-Z0-9])*");
  if (!std::regex_match(*name, shape)) {
    reader.violate(
        field,
        fmt::format("'{}' must be letters, digits and hyphens, with no hyphen at its ends", *name));
  }
  reader.cap(field, name->size() <= most,
             fmt::format("must have at most {} characters, not {}", most, name->size()));
  settings.emplace_back("name", *name);
}

Algorithm read_algorithm(RequestReader& reader, const AwsMap& aws, const std::string& metric_prefix,
                         RequestSettings& settings) {
  Algorithm result;
  const Json* value = reader.object("AlgorithmSpecification", true);
  if (value == nullptr) {
    return result;
  }
  auto& findings = reader.findings();
  RequestReader algorithm(*value, reader.path_of("AlgorithmSpecification"), findings);
  const auto image = algorithm.text("TrainingImage");
  const auto name = algorithm.text("AlgorithmName");
  if (image.has_value() == name.has_value()) {
    reader.violate("AlgorithmSpecification",
                   "needs exactly one of TrainingImage and AlgorithmName");
  }
  const auto mode = algorithm.word("TrainingInputMode", {"File", "Pipe", "FastFile"}, true);
  if (mode == "Pipe") {
    algorithm.violate("TrainingInputMode",
                      "Pipe is not supported: the program reads files (File or FastFile)");
  }
  for (const auto& entry :
       {std::string("ContainerEntrypoint"), std::string("ContainerArguments")}) {
    for (const Json* word : algorithm.list(entry)) {
      result.command += (result.command.empty() ? "" : " ") +
                        shell_quoted(word->is_string() ? word->get<std::string>() : word->dump());
    }
  }
  const auto definitions = algorithm.list("MetricDefinitions");
  algorithm.cap("MetricDefinitions", definitions.size() <= 40, "must be at most 40");
  for (std::size_t i = 0; i < definitions.size(); ++i) {
    result.metrics.push_back(metric_definition(
        *definitions[i], fmt::format("{}[{}]", algorithm.path_of("MetricDefinitions"), i), findings,
        metric_prefix, settings));
  }
  algorithm.ignore({"EnableSageMakerMetricsTimeSeries", "TrainingImageConfig"},
                   "has no meaning here");
  if (result.command.empty() && (image || name)) {
    const std::string named = image ? *image : *name;
    result.command = aws.command_of(named).value_or("");
  }
  return result;
}

void read_channels(RequestReader& reader, const AwsMap& aws, const std::string& prefix,
                   RequestSettings& settings) {
  const auto channels = reader.list("InputDataConfig");
  reader.cap("InputDataConfig", channels.size() <= 20, "must have at most 20 channels");
  for (std::size_t i = 0; i < channels.size(); ++i) {
    channel(*channels[i], fmt::format("{}[{}]", reader.path_of("InputDataConfig"), i),
            reader.findings(), aws, prefix, settings);
  }
}

std::int64_t read_resources(RequestReader& reader, const std::string& field, const AwsMap& aws,
                            const std::string& prefix, RequestSettings& settings) {
  const Json* value = reader.object(field);
  if (value == nullptr) {
    return 1;
  }
  RequestReader resources(*value, reader.path_of(field), reader.findings());
  const auto type = resources.text("InstanceType");
  const auto count = resources.integer("InstanceCount", 0);
  resources.ignore(
      {"VolumeSizeInGB", "VolumeKmsKeyId", "KeepAlivePeriodInSeconds", "TrainingPlanArn",
       "InstancePlacementConfig", "AllocationStrategy", "InstanceConfigs"},
      "has no meaning here");
  if (!resources.list("InstanceGroups").empty()) {
    resources.violate("InstanceGroups", "heterogeneous groups are not supported");
  }
  if (type) {
    if (const auto instance = aws.instance(*type)) {
      if (instance->cpus) {
        settings.emplace_back(prefix + "cpus", std::to_string(*instance->cpus));
      }
      if (instance->gpus) {
        settings.emplace_back(prefix + "gpus", std::to_string(*instance->gpus));
      }
    } else {
      resources.note("InstanceType", fmt::format("{} is not in [aws]: a share of this machine is "
                                                 "taken ('instance = {} cpus=N gpus=N')",
                                                 *type, *type));
    }
  }
  return std::max<std::int64_t>(count.value_or(1), 1);
}

std::string program_of(RequestReader& reader, const std::string& field,
                       const RequestSettings& hyperparameters, const std::string& image_command,
                       const AwsMap& aws) {
  const std::string program = value_of(hyperparameters, "sagemaker_program");
  const std::string directory = value_of(hyperparameters, "sagemaker_submit_directory");
  if (program.empty()) {
    if (image_command.empty()) {
      reader.violate("AlgorithmSpecification",
                     "its image is not known here: add 'image = GLOB COMMAND' to [aws]");
    }
    return image_command;
  }
  std::string place = directory.empty() ? "." : aws.path_of(directory).value_or("");
  if (place.empty()) {
    reader.violate(
        field + ".sagemaker_submit_directory",
        fmt::format(
            "{} is not known here: add 'path = {} DIRECTORY' to [aws], with the archive unpacked",
            directory, directory));
  } else if (place.ends_with(archive_end)) {
    place = unpacked(reader, field + ".sagemaker_submit_directory", place, program);
  }
  const std::string script = shell_quoted(place + "/" + program);
  if (!image_command.empty()) {
    return image_command + " " + script;
  }
  return (program.ends_with(".py")   ? "python3 "
          : program.ends_with(".sh") ? "/bin/sh "
                                     : "") +
         script;
}

std::string with_environment(const RequestSettings& environment, const std::string& command) {
  if (environment.empty()) {
    return command;
  }
  std::string result = "env";
  for (const auto& [name, value] : environment) {
    result += " " + shell_quoted(name + "=" + value);
  }
  return result + " " + command;
}

}  // namespace muster
