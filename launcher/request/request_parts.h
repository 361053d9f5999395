/// The parts that the two kinds of requests share: names, programs, channels, metrics, machines,
/// limits. An implementation detail of request.h.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "launcher/request/aws_map.h"
#include "launcher/request/request_reader.h"

namespace muster {

using RequestSettings = std::vector<std::pair<std::string, std::string>>;

void read_name(RequestReader& reader, const std::string& field, std::size_t most,
               RequestSettings& settings);
/// Metric definitions as PREFIX.NAME; the names found. Reads AlgorithmSpecification, and gives the
/// image's command or the entry point.
struct Algorithm {
  std::string command;
  std::vector<std::string> metrics;
};
Algorithm read_algorithm(RequestReader& reader, const AwsMap& aws, const std::string& metric_prefix,
                         RequestSettings& settings);
void read_channels(RequestReader& reader, const AwsMap& aws, const std::string& prefix,
                   RequestSettings& settings);
/// Cores and cards from ResourceConfig or HyperParameterTuningResourceConfig. Returns its
/// instances, 1 where it does not say: the program runs once on each, however many cards that has.
std::int64_t read_resources(RequestReader& reader, const std::string& field, const AwsMap& aws,
                            const std::string& prefix, RequestSettings& settings);
/// The command of a script that `sagemaker_program` and `sagemaker_submit_directory` name
/// (JSON-encoded strings, as the SDK writes them), behind the image's command; else that command.
/// Violations where it cannot be known.
std::string program_of(RequestReader& reader, const std::string& field,
                       const RequestSettings& hyperparameters, const std::string& image_command,
                       const AwsMap& aws);
/// The environment of the request in front of a command, as env(1) takes it.
std::string with_environment(const RequestSettings& environment, const std::string& command);

}  // namespace muster
