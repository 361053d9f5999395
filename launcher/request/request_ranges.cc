// SPDX-License-Identifier: Apache-2.0
#include "launcher/request/request_ranges.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "runtime/base/text.h"

namespace muster {
namespace {

using Json = nlohmann::ordered_json;

std::string scaled(RequestReader& reader, const std::string& scaling, double low, double high,
                   bool is_integer) {
  if (scaling == "Logarithmic" && low <= 0) {
    reader.violate("ScalingType", "Logarithmic needs a range above 0");
  }
  if (scaling == "ReverseLogarithmic" && (is_integer || low < 0 || high >= 1)) {
    reader.violate("ScalingType", "ReverseLogarithmic needs a continuous range within 0 <= x < 1");
  }
  if (scaling == "Auto") {
    return low > 0 && high / low >= 1000
               ? "log"
               : "linear";  // three decades and more are rates, not amounts
  }
  return scaling == "Logarithmic" ? "log" : scaling == "ReverseLogarithmic" ? "revlog" : "linear";
}

void read_number_range(const Json& value, const std::string& path, RequestFindings& findings,
                       bool is_integer, Ranges& ranges) {
  RequestReader reader(value, path, findings);
  const auto name = reader.text("Name", true);
  const auto low_text = reader.text("MinValue", true);
  const auto high_text = reader.text("MaxValue", true);
  const auto scaling =
      reader.word("ScalingType", {"Auto", "Linear", "Logarithmic", "ReverseLogarithmic"})
          .value_or("Auto");
  if (!name || !low_text || !high_text) {
    return;
  }
  const auto low = parse_double(*low_text);
  const auto high = parse_double(*high_text);
  const auto whole = [](double x) { return x == std::floor(x); };
  if (!low || !high || !std::isfinite(*low) || !std::isfinite(*high) ||
      (is_integer && !(whole(*low) && whole(*high)))) {
    reader.violate("MinValue", fmt::format("'{}' and '{}' must be {}", *low_text, *high_text,
                                           is_integer ? "whole numbers" : "numbers"));
    return;
  }
  if (*low > *high) {
    reader.violate("MaxValue", fmt::format("{} is below MinValue {}", *high_text, *low_text));
    return;
  }
  reader.cap("MinValue", *low < *high, "must be below MaxValue");
  const auto scale = scaled(reader, scaling, *low, *high, is_integer);
  ranges.settings.emplace_back(
      "search." + *name, *low == *high ? "const " + *low_text
                                       : fmt::format("{}{} {} {}", is_integer ? "int " : "", scale,
                                                     *low_text, *high_text));
  ranges.combinations *= is_integer ? *high - *low + 1 : *low == *high ? 1 : INFINITY;
}

void read_list_range(const Json& value, const std::string& path, RequestFindings& findings,
                     Ranges& ranges) {
  RequestReader reader(value, path, findings);
  const auto name = reader.text("Name", true);
  std::string text = "choice";
  const auto values = reader.list("Values", true);
  for (const Json* word : values) {
    if (!word->is_string()) {
      reader.violate("Values", fmt::format("{} must be a string", word->dump()));
      return;
    }
    text += " " + quoted(word->get<std::string>());
  }
  if (values.empty()) {
    reader.violate("Values", "must have at least one value");
  }
  reader.cap("Values", values.size() <= 30,
             fmt::format("must be at most 30, not {}", values.size()));
  if (name) {
    ranges.settings.emplace_back("search." + *name, text);
    ranges.combinations *= static_cast<double>(values.size());
  }
}

}  // namespace

std::string quoted(const std::string& word) {
  std::string result = "\"";
  for (const char c : word) {
    if (c == '"' || c == '\\') {
      result += '\\';
    }
    c == '#' ? result += "\\x23" : result += c;
  }
  return result + "\"";
}

Ranges read_ranges(RequestReader& parent, const std::string& field) {
  Ranges ranges;
  const Json* value = parent.object(field, true);
  if (value == nullptr) {
    return ranges;
  }
  auto& findings = parent.findings();
  RequestReader reader(*value, parent.path_of(field), findings);
  for (const std::string kind :
       {"IntegerParameterRanges", "ContinuousParameterRanges", "CategoricalParameterRanges"}) {
    const auto entries = reader.list(kind);
    ranges.count += entries.size();
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const auto path = fmt::format("{}[{}]", reader.path_of(kind), i);
      if (kind[1] == 'a') {
        read_list_range(*entries[i], path, findings, ranges);
      } else {
        ranges.all_categorical = false;
        read_number_range(*entries[i], path, findings, kind[0] == 'I', ranges);
      }
    }
  }
  if (!reader.list("AutoParameters").empty()) {
    reader.violate("AutoParameters", "Autotune is not supported: give every parameter a range");
  }
  if (ranges.count == 0) {
    parent.violate(field, "has no range: there is nothing to search");
  }
  parent.cap(field, ranges.count <= 30,
             fmt::format("must have at most 30 parameters, not {}", ranges.count));
  return ranges;
}

}  // namespace muster
