/// JSON by hand, for lines of numbers: a string with its quotes, a number that reads back exactly,
/// null for what JSON cannot say.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace muster {

std::string json_string(std::string_view text);
std::string json_number(double value);  ///< "null" for NaN and infinities
std::string json_object(const std::vector<std::pair<std::string, double>>& values);

}  // namespace muster
