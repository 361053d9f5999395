// SPDX-License-Identifier: Apache-2.0
#include "launcher/program/program_job.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <nlohmann/json.hpp>

#include "runtime/base/error.h"

namespace muster {
namespace {

using SortedJson = nlohmann::json;  // keys sorted, as the toolkit prints them

/// Each value is JSON on its own; what is not, is text.
SortedJson decoded(const std::string& word) {
  SortedJson value = SortedJson::parse(word, nullptr, false);
  return value.is_discarded() ? SortedJson(word) : value;
}

SortedJson hyperparameters_of(const ProgramJob& job) {
  SortedJson result = SortedJson::object();
  for (const auto& [key, word] : job.hyperparameters) {
    if (!is_reserved_parameter(key)) {
      result[key] = decoded(word);
    }
  }
  return result;
}

std::string variable_text(const SortedJson& value) {
  if (value.is_null()) {
    return "";
  }
  return value.is_string() ? value.get<std::string>() : value.dump(-1, ' ', true);
}

std::string upper(std::string text) {
  std::ranges::transform(text, text.begin(),
                         [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

SortedJson instance_group(const ProgramJob& job) {
  return {{"instance_group_name", job.group},
          {"instance_type", job.instance_type},
          {"hosts", job.hosts}};
}

SortedJson resource_config(const ProgramJob& job) {
  return {{"current_host", job.current_host},
          {"current_instance_type", job.instance_type},
          {"current_group_name", job.group},
          {"hosts", job.hosts},
          {"instance_groups", SortedJson::array({instance_group(job)})},
          {"network_interface_name", job.network_interface}};
}

SortedJson input_data_config(const ProgramJob& job) {
  SortedJson result = SortedJson::object();
  for (const auto& channel : job.channels) {
    result[channel.name] = {{"TrainingInputMode", "File"},
                            {"S3DistributionType", "FullyReplicated"},
                            {"RecordWrapperType", "None"}};
    if (!channel.content_type.empty()) {
      result[channel.name]["ContentType"] = channel.content_type;
    }
  }
  return result;
}

/// The program among the words of the command: `python3 train.py` is train.py.
std::string entry_point(const ProgramJob& job) {
  const auto script = std::ranges::find_if(job.command, [](const std::string& word) {
    return word.ends_with(".py") || word.ends_with(".sh");
  });
  if (script != job.command.end()) {
    return Path(*script).filename().string();
  }
  return job.command.empty() ? "" : Path(job.command.front()).filename().string();
}

SortedJson base_environment(const ProgramJob& job) {
  const Path root = tree_root(job);
  const std::string entry = entry_point(job);
  SortedJson channels = SortedJson::object();
  for (const auto& channel : job.channels) {
    channels[channel.name] = (root / "input/data" / channel.name).string();
  }
  return {{"additional_framework_parameters", SortedJson::object()},
          {"channel_input_dirs", channels},
          {"current_host", job.current_host},
          {"current_instance_group", job.group},
          {"current_instance_group_hosts", job.hosts},
          {"current_instance_type", job.instance_type},
          {"distribution_hosts", job.hosts},
          {"distribution_instance_groups", SortedJson::array()},
          {"framework_module", nullptr},
          {"hosts", job.hosts},
          {"hyperparameters", hyperparameters_of(job)},
          {"input_config_dir", (root / "input/config").string()},
          {"input_data_config", input_data_config(job)},
          {"input_dir", (root / "input").string()},
          {"instance_groups", SortedJson::array({job.group})},
          {"instance_groups_dict", {{job.group, instance_group(job)}}},
          {"is_hetero", false},
          {"is_master", job.current_host == job.hosts.front()},
          {"job_name", job.name},
          {"log_level", 20},
          {"master_hostname", job.hosts.front()},
          {"model_dir", (root / "model").string()},
          {"module_dir", (root / "code").string()},
          {"module_name", Path(entry).stem().string()},
          {"network_interface_name", job.network_interface},
          {"num_cpus", job.cpus},
          {"num_gpus", job.gpus},
          {"num_neurons", 0},
          {"output_data_dir", (root / "output/data").string()},
          {"output_dir", (root / "output").string()},
          {"output_intermediate_dir", (root / "output/intermediate").string()},
          {"resource_config", resource_config(job)},
          {"topology", nullptr},
          {"user_entry_point", entry}};
}

/// Which parts of the training environment are variables of their own, and their names where those
/// differ.
constexpr std::array<std::pair<const char*, const char*>, 31> variables{{
    {"SM_HOSTS", "hosts"},
    {"SM_CURRENT_HOST", "current_host"},
    {"SM_NETWORK_INTERFACE_NAME", "network_interface_name"},
    {"SM_CURRENT_INSTANCE_TYPE", "current_instance_type"},
    {"SM_CURRENT_INSTANCE_GROUP", "current_instance_group"},
    {"SM_CURRENT_INSTANCE_GROUP_HOSTS", "current_instance_group_hosts"},
    {"SM_INSTANCE_GROUPS", "instance_groups"},
    {"SM_INSTANCE_GROUPS_DICT", "instance_groups_dict"},
    {"SM_DISTRIBUTION_INSTANCE_GROUPS", "distribution_instance_groups"},
    {"SM_IS_HETERO", "is_hetero"},
    {"SM_TOPOLOGY", "topology"},
    {"SM_RESOURCE_CONFIG", "resource_config"},
    {"SM_NUM_CPUS", "num_cpus"},
    {"SM_NUM_GPUS", "num_gpus"},
    {"SM_NUM_NEURONS", "num_neurons"},
    {"SM_INPUT_DIR", "input_dir"},
    {"SM_INPUT_CONFIG_DIR", "input_config_dir"},
    {"SM_OUTPUT_DIR", "output_dir"},
    {"SM_OUTPUT_DATA_DIR", "output_data_dir"},
    {"SM_OUTPUT_INTERMEDIATE_DIR", "output_intermediate_dir"},
    {"SM_MODEL_DIR", "model_dir"},
    {"SM_MODULE_DIR", "module_dir"},
    {"SM_INPUT_DATA_CONFIG", "input_data_config"},
    {"SM_HPS", "hyperparameters"},
    {"SM_USER_ENTRY_POINT", "user_entry_point"},
    {"SM_MODULE_NAME", "module_name"},
    {"SM_FRAMEWORK_MODULE", "framework_module"},
    {"SM_FRAMEWORK_PARAMS", "additional_framework_parameters"},
    {"SM_LOG_LEVEL", "log_level"},
    {"SM_MASTER_ADDR", "master_hostname"},
    {"SM_SOURCE_DIR", "module_dir"},
}};

void link_to(const Path& target, const Path& link) {
  std::error_code code;
  std::filesystem::remove(
      link, code);  // a link of an earlier attempt; anything else makes the next line fail
  std::filesystem::create_directory_symlink(target, link, code);
  if (code) {
    throw_errno(fmt::format("link {} to {}", link.string(), target.string()), code.value());
  }
}

void write_json(const Path& file, const SortedJson& value) {
  write_file_atomically(file, value.dump() + "\n");
}

void write_config(const ProgramJob& job, const Path& directory) {
  SortedJson words = SortedJson::object();
  for (const auto& [key, word] : job.hyperparameters) {
    words[key] = word;
  }
  write_json(directory / "hyperparameters.json", words);
  write_json(directory / "resourceconfig.json", resource_config(job));
  write_json(directory / "inputdataconfig.json", input_data_config(job));
  write_json(directory / "checkpointconfig.json",
             {{"LocalPath", (tree_root(job) / "checkpoints").string()}});
}

}  // namespace

Path tree_root(const ProgramJob& job) {
  return job.directory / "ml";
}

void make_tree(const ProgramJob& job) {
  require(job.directory.is_absolute(), "a program's tree needs an absolute directory");
  auto& files = posix_file_system();
  const Path root = tree_root(job);
  for (const char* inside : {"input/config", "input/data", "output/data", "output/intermediate",
                             "output/metrics", "code"}) {
    files.make_directory(root / inside);
  }
  for (const char* shared : {"model", "checkpoints"}) {
    files.make_directory(job.directory / shared);
    link_to(Path("..") / shared, root / shared);
  }
  files.remove(root / "output/failure");  // of an earlier attempt
  for (const auto& channel : job.channels) {
    if (!files.exists(channel.path)) {
      throw Error(Fault::bad_input,
                  fmt::format("trial.data.{} = {}: there is no such file or directory",
                              channel.name, channel.path.string()));
    }
    link_to(std::filesystem::absolute(channel.path), root / "input/data" / channel.name);
  }
  write_config(job, root / "input/config");
}

std::map<std::string, std::string> program_environment(const ProgramJob& job) {
  const SortedJson base = base_environment(job);
  std::map<std::string, std::string> result;
  for (const auto& [variable, key] : variables) {
    result[variable] = variable_text(base[key]);
  }
  SortedJson channel_names = SortedJson::array();
  for (const auto& [name, path] : base["channel_input_dirs"].items()) {
    channel_names.push_back(name);
    result["SM_CHANNEL_" + upper(name)] = path.get<std::string>();
  }
  result["SM_CHANNELS"] = variable_text(channel_names);
  for (const auto& [key, value] : base["hyperparameters"].items()) {
    std::string name = "SM_HP_" + upper(key);
    result[name] = variable_text(value);
    std::ranges::replace_if(
        name, [](char c) { return c == '-' || c == '.'; }, '_');  // a POSIX shell can read this one
    result[name] = variable_text(value);
  }
  result["SM_USER_ARGS"] = SortedJson(arguments_for(job.hyperparameters, job.style)).dump();
  result["SM_TRAINING_ENV"] = base.dump(-1, ' ', true);
  const auto host = std::ranges::find(job.hosts, job.current_host);
  result["SM_HOST_COUNT"] = std::to_string(job.hosts.size());
  result["SM_CURRENT_HOST_RANK"] = std::to_string(host - job.hosts.begin());
  result["SM_MASTER_PORT"] = "7777";
  result["SM_ENTRY_SCRIPT"] = base["user_entry_point"].get<std::string>();
  result["SM_INPUT_DATA_DIR"] = (tree_root(job) / "input/data").string();
  result["SM_OUTPUT_FAILURE"] = (tree_root(job) / "output/failure").string();
  result["SM_DISTRIBUTED_CONFIG"] = "{}";
  result["TRAINING_JOB_NAME"] = job.name;
  result["SAGEMAKER_BASE_DIR"] = tree_root(job).string();
  result["MUSTER_CHECKPOINT_DIR"] = (job.directory / "checkpoints").string();
  result["MUSTER_METRICS"] = (job.directory / "metrics.jsonl").string();
  return result;
}

std::map<std::string, std::string> rendezvous_environment(int rank, int size, int local_rank,
                                                          int local_size, std::string_view master,
                                                          int port) {
  return {{"RANK", std::to_string(rank)},
          {"WORLD_SIZE", std::to_string(size)},
          {"LOCAL_RANK", std::to_string(local_rank)},
          {"LOCAL_WORLD_SIZE", std::to_string(local_size)},
          {"NODE_RANK", std::to_string(local_size > 0 ? rank / local_size : 0)},
          {"GROUP_RANK", std::to_string(local_size > 0 ? rank / local_size : 0)},
          {"MASTER_ADDR", std::string(master)},
          {"MASTER_PORT", std::to_string(port)}};
}

std::vector<std::string> command_line(const ProgramJob& job) {
  std::vector<std::string> words = job.command;
  std::ranges::copy(arguments_for(job.hyperparameters, job.style), std::back_inserter(words));
  return words;
}

std::string failure_text(const ProgramJob& job) {
  const auto text = read_file_if_there(tree_root(job) / "output/failure");
  return text ? text->substr(0, 1024) : "";
}

}  // namespace muster
