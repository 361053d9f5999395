// SPDX-License-Identifier: Apache-2.0
#include "launcher/request/aws_map.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include "runtime/base/error.h"
#include "runtime/base/text.h"
#include "runtime/config/keys.h"
#include "runtime/config/load.h"

namespace muster {
namespace {

/// "name rest of the line".
std::pair<std::string, std::string> name_and_rest(const std::string& key, const std::string& line,
                                                  std::string_view example) {
  const std::string whole(trim(line));
  const auto end = whole.find_first_of(" \t");
  if (end == std::string::npos) {
    throw Error(
        Fault::bad_input,
        fmt::format("aws.{} = {}: write a name and what it is here, as in {}", key, line, example));
  }
  return {whole.substr(0, end), std::string(trim(std::string_view(whole).substr(end)))};
}

std::string without_end_slash(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) {
    path.pop_back();
  }
  return path;
}

/// "s3://bucket/data" has "s3://bucket/data/a" below it, and nothing of "s3://bucket/data2".
bool is_below(const std::string& uri, const std::string& prefix) {
  return uri.starts_with(prefix) && (uri.size() == prefix.size() || uri[prefix.size()] == '/');
}

AwsMap::Instance instance_from(const std::string& line, const std::string& text) {
  AwsMap::Instance instance;
  for (const auto& word : words(text)) {
    const auto equals = word.find('=');
    const std::string key = word.substr(0, equals);
    const auto count = equals == std::string::npos
                           ? std::nullopt
                           : parse_int(std::string_view(word).substr(equals + 1));
    if (!count || *count < 0 || (key != "cpus" && key != "gpus")) {
      throw Error(Fault::bad_input,
                  fmt::format("aws.instance = {}: '{}' is neither cpus=N nor gpus=N", line, word));
    }
    (key == "cpus" ? instance.cpus : instance.gpus) = static_cast<int>(*count);
  }
  return instance;
}

}  // namespace

AwsMap::AwsMap(const std::vector<std::string>& images, const std::vector<std::string>& paths,
               const std::vector<std::string>& instances) {
  for (const auto& line : images) {
    images_.push_back(name_and_rest("image", line, "*pytorch* python3"));
  }
  for (const auto& line : paths) {
    auto [prefix, directory] = name_and_rest("path", line, "s3://bucket/data /data");
    paths_.emplace_back(without_end_slash(std::move(prefix)),
                        without_end_slash(std::move(directory)));
  }
  for (const auto& line : instances) {
    auto [type, text] = name_and_rest("instance", line, "ml.p3.2xlarge cpus=8 gpus=1");
    instances_.emplace_back(std::move(type), instance_from(line, text));
  }
}

AwsMap AwsMap::from_file(const std::string& file) {
  std::vector<std::string> images;
  std::vector<std::string> paths;
  std::vector<std::string> instances;
  Keys keys;
  keys.section("aws", "What a request for the managed service names, and what that is here");
  keys.add("aws.image", images, "GLOB COMMAND");
  keys.add("aws.path", paths, "PREFIX DIRECTORY");
  keys.add("aws.instance", instances, "TYPE cpus=N gpus=N");
  load(keys, Sources{.file = file, .environment = {}, .arguments = {}});
  return {images, paths, instances};
}

std::optional<std::string> AwsMap::command_of(const std::string& image) const {
  for (const auto& [glob, command] : images_) {
    if (::fnmatch(glob.c_str(), image.c_str(), 0) == 0) {
      return command;
    }
  }
  return std::nullopt;
}

std::optional<std::string> AwsMap::path_of(const std::string& uri) const {
  const std::pair<std::string, std::string>* longest = nullptr;
  for (const auto& entry : paths_) {
    const bool is_longer = longest == nullptr || entry.first.size() > longest->first.size();
    if (is_longer && is_below(uri, entry.first)) {
      longest = &entry;
    }
  }
  if (longest != nullptr) {
    const auto rest = uri.find_first_not_of('/', longest->first.size());
    return rest == std::string::npos ? longest->second : longest->second + "/" + uri.substr(rest);
  }
  if (uri.starts_with("file://")) {
    return uri.substr(7);
  }
  return uri.find("://") == std::string::npos ? std::optional(uri) : std::nullopt;
}

std::optional<AwsMap::Instance> AwsMap::instance(const std::string& type) const {
  for (const auto& [name, instance] : instances_) {
    if (::fnmatch(name.c_str(), type.c_str(), 0) == 0) {
      return instance;
    }
  }
  return std::nullopt;
}

}  // namespace muster
