/// Arguments: hyper-parameters as the command line of a program that has never heard of Muster.
/// Words reach the program byte for byte; only the sagemaker forms rewrite them, because the
/// managed service does.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace muster {

/// How a program wants its hyper-parameters (`trial.arguments`).
enum class ArgumentStyle {
  plain,       ///< --key value, sorted by key
  hydra,       ///< key=value, sorted by key
  sagemaker2,  ///< the service's second toolkit: sorted, one-letter keys as -k, Python's True and
               ///< False, reserved keys stripped
  sagemaker3,  ///< its third: in the order given, --key value, JSON's true and false
};

ArgumentStyle argument_style(std::string_view name);  ///< throws bad_input naming the four

using Parameters = std::vector<std::pair<std::string, std::string>>;

std::vector<std::string> arguments_for(const Parameters& parameters, ArgumentStyle style);

/// A key that the managed service keeps for itself: it is never passed on ("sagemaker_program",
/// "_tuning_objective_metric").
bool is_reserved_parameter(std::string_view key);

}  // namespace muster
