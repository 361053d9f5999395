// SPDX-License-Identifier: Apache-2.0
#include "runtime/config/ini.h"

#include <fmt/format.h>
#include <boost/program_options.hpp>

#include <algorithm>
#include <optional>
#include <sstream>

#include "runtime/base/text.h"

namespace muster {
namespace {

namespace options = boost::program_options;

constexpr std::string_view hash_escape = "\\x23";

/// One pass over a file: remembers the section, collects what it finds.
class Reader {
 public:
  explicit Reader(const std::string& name) : name_(name) {}

  void take(std::string_view line) {
    ++number_;
    line = trim(line);
    if (line.empty() || line.front() == '#') {
      return;
    }
    line.front() == '[' ? take_section(line) : take_entry(line);
  }

  IniText result;

 private:
  void complain(const std::string& sentence) {
    result.violations.push_back(fmt::format("{}:{}: {}", name_, number_, sentence));
  }

  /// Boost takes "[ search ]" as a section of that name, blanks included, and "[x] = y" as a
  /// section "x] = y" cut at its end.
  void take_section(std::string_view line) {
    const std::string_view head = trim(line.substr(0, line.find('#')));
    const auto close = head.find(']');
    if (close == std::string_view::npos || close + 1 != head.size()) {
      complain(fmt::format("a section is '[name]' alone on its line, not '{}'", line));
      return;
    }
    const std::string_view inside = head.substr(1, close - 1);
    const std::string section(trim(inside));
    if (section.empty() || section != inside || words(section).size() != 1) {
      complain(fmt::format("the section '{}' has blanks in its name or none at all: write [{}]",
                           head, section.empty() ? "name" : join(words(section), "_")));
      return;
    }
    section_ = section;
    result.sections.push_back({section, number_});
  }

  void take_entry(std::string_view line) {
    if (const auto problem = comment_problem(line)) {
      complain(*problem);
      return;
    }
    const auto equals = line.substr(0, line.find('#')).find('=');
    if (equals == std::string_view::npos || equals == 0) {
      complain(fmt::format("'{}' is neither '[section]' nor 'key = value'", line));
      return;
    }
    try {
      parse_with_boost(std::string(line));
    } catch (const options::error& error) {
      complain(fmt::format("'{}' cannot be read: {}", line, error.what()));
    }
  }

  void parse_with_boost(const std::string& line) {
    std::istringstream stream(section_.empty() ? line : "[" + section_ + "]\n" + line);
    const auto parsed = options::parse_config_file(stream, options::options_description(), true);
    for (const auto& option : parsed.options) {
      result.entries.push_back(
          {option.string_key, option.value.empty() ? "" : option.value.front(), number_});
    }
  }

  /// Boost cuts at every '#', inside quotes and inside words too. Where that would lose a part of
  /// the value it is better to ask.
  static std::optional<std::string> comment_problem(std::string_view line) {
    const auto hash = line.find('#');
    if (hash == std::string_view::npos) {
      return std::nullopt;
    }
    const std::string_view before = line.substr(0, hash);
    const bool inside_quotes = std::ranges::count(before, '"') % 2 == 1;
    const bool glued = !before.empty() && before.back() != ' ' && before.back() != '\t';
    if (inside_quotes || glued) {
      return fmt::format(
          "'#' begins a comment and would cut the value of '{}': write \\x23 for the character, or "
          "put a blank before a comment",
          trim(before.substr(0, before.find('='))));
    }
    return std::nullopt;
  }

  std::string name_;
  std::string section_;
  int number_ = 0;
};

std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
  std::string result;
  for (;;) {
    const auto at = text.find(from);
    result += text.substr(0, at);
    if (at == std::string_view::npos) {
      return result;
    }
    result += to;
    text.remove_prefix(at + from.size());
  }
}

}  // namespace

IniText read_ini(std::string_view text, const std::string& name) {
  if (text.starts_with("\xEF\xBB\xBF")) {  // the byte order mark of some editors
    text.remove_prefix(3);
  }
  Reader reader(name);
  for (const auto& line : split(text, '\n')) {
    reader.take(line);
  }
  return std::move(reader.result);
}

std::string ini_escaped(std::string_view value) {
  return replaced(value, "#", hash_escape);
}
std::string ini_unescaped(std::string_view value) {
  return replaced(value, hash_escape, "#");
}

}  // namespace muster
