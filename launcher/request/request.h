/// Requests: the bodies of the managed service's CreateHyperParameterTuningJob and
/// CreateTrainingJob calls, understood as a sweep and as a run of any program here. Every violation
/// is reported at once with its field path.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "launcher/request/aws_map.h"

namespace muster {

/// Settings as (key, value) pairs of a sweep or run: what the command line would say
/// ("tune.objective", "max acc").
struct TranslatedRequest {
  std::vector<std::pair<std::string, std::string>> settings;
  std::vector<std::string>
      notes;  ///< one a field that is understood differently here, or has no meaning here
  /// "--tune.objective=max acc", for runtime/config's load().
  std::vector<std::string> arguments() const;
};

/// Is the file a request (JSON) rather than a configuration file?
bool is_request(std::string_view text);
/// `strict`: the service's own caps (names, counts, ranges) hold. Throws bad_input listing all
/// violations.
TranslatedRequest translate_tuning_request(std::string_view json, const AwsMap& aws, bool strict);
/// Settings are those of `muster run`: name, command, arguments, max_runtime, restarts_per_hour,
/// data.CHANNEL, metric.NAME, hyperparameter.KEY, cpus, gpus, ranks.
TranslatedRequest translate_training_request(std::string_view json, const AwsMap& aws, bool strict);

/// Python modules that a requirements.txt beside the program names and that `python` cannot find.
std::vector<std::string> missing_modules(const std::string& requirements,
                                         const std::string& python);
/// A sentence about what the requirements.txt beside the script of `command` names and its Python
/// lacks.
std::optional<std::string> missing_modules_note(const std::string& command);

}  // namespace muster
