// SPDX-License-Identifier: Apache-2.0
#include "runtime/base/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <numeric>

#include "runtime/base/error.h"

namespace muster {
namespace {

constexpr std::string_view blanks = " \t\r\n\f\v";

bool is_blank(char c) {
  return blanks.find(c) != std::string_view::npos;
}

std::string lower(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

template <class Number>
std::optional<Number> parse_whole(std::string_view text) {
  if (!text.empty() && text.front() == '+') {
    text.remove_prefix(1);
  }
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || text.empty()) {
    return std::nullopt;
  }
  return value;
}

/// Splits "1.5 GB" into the number and the unit behind it.
std::optional<std::pair<double, std::string>> number_and_unit(std::string_view text) {
  text = trim(text);
  const auto end = text.find_first_not_of("0123456789.eE+-");
  auto number_end = end == std::string_view::npos ? text.size() : end;
  const auto number = parse_double(trim(text.substr(0, number_end)));
  if (!number || !std::isfinite(*number) || *number < 0) {
    return std::nullopt;
  }
  return std::pair{*number, lower(trim(text.substr(number_end)))};
}

/// Slurm's forms: [days-]hours:minutes:seconds and minutes:seconds.
std::optional<double> parse_clock(std::string_view text) {
  double days = 0;
  if (const auto dash = text.find('-'); dash != std::string_view::npos) {
    const auto whole = parse_int(text.substr(0, dash));
    if (!whole || *whole < 0) {
      return std::nullopt;
    }
    days = static_cast<double>(*whole);
    text.remove_prefix(dash + 1);
  }
  double seconds = 0;
  for (const auto& part : split(text, ':')) {
    const auto value = parse_int(part);
    if (!value || *value < 0) {
      return std::nullopt;
    }
    seconds = seconds * 60 + static_cast<double>(*value);
  }
  return days * 86400 + seconds;
}

std::size_t edits(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0]++;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t change = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({change, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::string_view trim(std::string_view text) {
  const auto first = text.find_first_not_of(blanks);
  if (first == std::string_view::npos) {
    return {};
  }
  return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (;;) {
    const auto at = text.find(separator);
    parts.emplace_back(text.substr(0, at));
    if (at == std::string_view::npos) {
      return parts;
    }
    text.remove_prefix(at + 1);
  }
}

std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> result;
  for (text = trim(text); !text.empty(); text = trim(text)) {
    const auto end = std::min(text.find_first_of(blanks), text.size());
    result.emplace_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return result;
}

std::string join(std::span<const std::string> parts, std::string_view separator) {
  return fmt::format("{}", fmt::join(parts, separator));
}

std::vector<std::string> shell_words(std::string_view text) {
  std::vector<std::string> result;
  std::string word;
  bool inside = false;  // a word has begun, perhaps an empty quoted one
  char quote = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    const bool escapes =
        c == '\\' && quote != '\'' && at + 1 < text.size() &&
        (quote == 0 || std::string_view("\"\\$`").find(text[at + 1]) != std::string_view::npos);
    if (escapes) {
      word += text[++at];
      inside = true;
    } else if (quote != 0) {
      c == quote ? static_cast<void>(quote = 0) : word.push_back(c);
    } else if (c == '\'' || c == '"') {
      quote = c;
      inside = true;
    } else if (!is_blank(c)) {
      word += c;
      inside = true;
    } else if (inside) {
      result.push_back(std::exchange(word, {}));
      inside = false;
    }
  }
  if (quote != 0) {
    throw Error(Fault::bad_input,
                fmt::format("a {} is opened and never closed in: {}", quote, text));
  }
  if (inside) {
    result.push_back(word);
  }
  return result;
}

std::string shell_quoted(std::string_view word) {
  const auto plain = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
           std::string_view("_-./=:,+@%^").find(c) != std::string_view::npos;
  };
  if (!word.empty() && std::ranges::all_of(word, plain)) {
    return std::string(word);
  }
  std::string quoted = "'";
  for (const char c : word) {
    c == '\'' ? quoted += R"('\'')" : quoted += c;
  }
  return quoted + "'";
}

std::optional<double> parse_double(std::string_view text) {
  return parse_whole<double>(text);
}
std::optional<std::int64_t> parse_int(std::string_view text) {
  return parse_whole<std::int64_t>(text);
}

std::optional<bool> parse_bool(std::string_view text) {
  const std::string word = lower(text);
  if (word == "true" || word == "yes" || word == "on" || word == "1") {
    return true;
  }
  if (word == "false" || word == "no" || word == "off" || word == "0") {
    return false;
  }
  return std::nullopt;
}

std::optional<double> parse_seconds(std::string_view text) {
  text = trim(text);
  if (text.find(':') != std::string_view::npos) {
    return parse_clock(text);
  }
  const auto parts = number_and_unit(text);
  if (!parts) {
    return std::nullopt;
  }
  const auto& [number, unit] = *parts;
  if (unit.empty() || unit == "s" || unit == "sec" || unit == "seconds" || unit == "second") {
    return number;
  }
  if (unit == "ms") {
    return number * 1e-3;
  }
  if (unit == "m" || unit == "min" || unit == "minutes" || unit == "minute") {
    return number * 60;
  }
  if (unit == "h" || unit == "hours" || unit == "hour") {
    return number * 3600;
  }
  if (unit == "d" || unit == "days" || unit == "day") {
    return number * 86400;
  }
  return std::nullopt;
}

std::optional<std::uint64_t> parse_bytes(std::string_view text) {
  const auto parts = number_and_unit(text);
  if (!parts) {
    return std::nullopt;
  }
  const auto& [number, unit] = *parts;
  constexpr std::string_view scales = "kmgtp";
  if (unit.empty() || unit == "b") {
    return static_cast<std::uint64_t>(number);
  }
  const auto power = scales.find(unit.front());
  const std::string tail = unit.substr(1);
  if (power == std::string_view::npos || (!tail.empty() && tail != "b" && tail != "ib")) {
    return std::nullopt;
  }
  return static_cast<std::uint64_t>(std::ldexp(number, 10 * (static_cast<int>(power) + 1)));
}

std::string exact(double value) {
  return fmt::format("{}", value);
}

std::optional<std::string> nearest(std::string_view word, std::span<const std::string> known) {
  std::optional<std::string> best;
  std::size_t fewest = std::max<std::size_t>(2, word.size() / 3) + 1;
  for (const auto& candidate : known) {
    if (const auto distance = edits(word, candidate); distance < fewest) {
      fewest = distance;
      best = candidate;
    }
  }
  return best;
}

std::string human_bytes(double bytes) {
  constexpr std::array<std::string_view, 6> units{"B", "kB", "MB", "GB", "TB", "PB"};
  std::size_t unit = 0;
  while (bytes >= 999.5 && unit + 1 < units.size()) {
    bytes /= 1000;
    ++unit;
  }
  return unit == 0 || bytes >= 99.95 ? fmt::format("{:.0f} {}", bytes, units[unit])
                                     : fmt::format("{:.1f} {}", bytes, units[unit]);
}

}  // namespace muster
