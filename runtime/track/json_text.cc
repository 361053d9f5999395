// SPDX-License-Identifier: Apache-2.0
#include "runtime/track/json_text.h"

#include <fmt/format.h>

#include <cmath>

#include "runtime/base/text.h"

namespace muster {

std::string json_string(std::string_view text) {
  std::string quoted = "\"";
  for (const char letter : text) {
    if (letter == '"' || letter == '\\') {
      quoted += '\\';
      quoted += letter;
    } else if (static_cast<unsigned char>(letter) < 0x20) {
      quoted += fmt::format("\\u{:04x}", static_cast<unsigned>(letter));
    } else {
      quoted += letter;
    }
  }
  return quoted + "\"";
}

std::string json_number(double value) {
  return std::isfinite(value) ? exact(value) : "null";
}

std::string json_object(const std::vector<std::pair<std::string, double>>& values) {
  std::string text = "{";
  for (const auto& [name, value] : values) {
    text +=
        fmt::format("{}{}:{}", text.size() > 1 ? "," : "", json_string(name), json_number(value));
  }
  return text + "}";
}

}  // namespace muster
