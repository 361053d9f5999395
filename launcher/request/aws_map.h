/// AwsMap: what a request for the managed service names, and what that is here. The [aws] section
/// of a configuration file:
///   image = *pytorch-training* python3        # globs of image names to commands
///   path = s3://bucket/digits /data/digits    # prefixes to directories
///   instance = ml.p3.2xlarge cpus=8 gpus=1    # types to what a trial takes
/// The first line that matches an image, and the longest prefix of a path, decide.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace muster {

class AwsMap {
 public:
  AwsMap() = default;
  /// Lines as above, without their keys. Throws bad_input on a line that cannot be read.
  AwsMap(const std::vector<std::string>& images, const std::vector<std::string>& paths,
         const std::vector<std::string>& instances);
  /// Reads the [aws] section of a file.
  static AwsMap from_file(const std::string& file);

  std::optional<std::string> command_of(const std::string& image) const;
  /// A path of this machine: mapped, or as it is where it names no scheme ("file:///data" and
  /// "/data").
  std::optional<std::string> path_of(const std::string& uri) const;
  struct Instance {
    std::optional<int> cpus, gpus;
  };
  std::optional<Instance> instance(const std::string& type) const;

 private:
  std::vector<std::pair<std::string, std::string>> images_, paths_;
  std::vector<std::pair<std::string, Instance>> instances_;
};

}  // namespace muster
