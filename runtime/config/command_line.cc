// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <boost/program_options.hpp>

#include "runtime/base/text.h"
#include "runtime/config/bindings.h"
#include "runtime/config/load.h"

namespace muster {
namespace {

namespace options = boost::program_options;

bool is_option(const std::string& word) {
  return word.size() > 2 && word.starts_with("--");
}

/// "-5" and "-.5" are values.
bool is_short_option(const std::string& word) {
  return word.size() > 1 && word.front() == '-' && !is_option(word) && !parse_double(word);
}

bool is_flag(const Keys& keys, const std::string& name) {
  const auto* declared = keys.impl().find(name);
  return declared != nullptr && declared->binding.is_flag;
}

/// Each option and its value as one word, "--key=value". Boost would take "--train.epochs" as the
/// value of an option before it that lacks its own.
class Joiner {
 public:
  Joiner(const Keys& keys, const std::vector<std::string>& arguments)
      : keys_(keys), arguments_(arguments) {}

  CommandLine run() {
    for (; at_ < arguments_.size(); ++at_) {
      const auto& word = arguments_[at_];
      if (word == "--") {
        result_.has_rest = true;
        result_.rest.assign(arguments_.begin() + static_cast<std::ptrdiff_t>(at_) + 1,
                            arguments_.end());
        break;
      }
      take(word);
    }
    if (!violations_.empty()) {
      throw_violations(violations_);
    }
    return std::move(result_);
  }

 private:
  void take(const std::string& word) {
    if (word == "--help" || word == "-h") {
      result_.wants_help = true;
    } else if (is_option(word)) {
      take_option(word);
    } else if (is_short_option(word)) {
      violations_.push_back(
          fmt::format("the command line: unknown option '{}' (options begin with '--')", word));
    } else {
      result_.words.push_back(word);
    }
  }

  void take_option(const std::string& word) {
    if (word.find('=') != std::string::npos) {
      result_.options.push_back(word);
      return;
    }
    const std::string name = word.substr(2);
    const std::string* next = at_ + 1 < arguments_.size() ? &arguments_[at_ + 1] : nullptr;
    if (is_flag(keys_, name)) {
      const bool takes_next = next != nullptr && parse_bool(*next);
      result_.options.push_back(word + "=" + (takes_next ? *next : "true"));
      at_ += takes_next ? 1 : 0;
    } else if (next != nullptr && !is_option(*next) && *next != "--") {
      result_.options.push_back(word + "=" + *next);
      ++at_;
    } else {
      violations_.push_back(missing_value(name, next));
    }
  }

  std::string missing_value(const std::string& name, const std::string* next) const {
    if (const auto unknown =
            keys_.impl().find(name) ? std::nullopt : keys_.complaint_about(name, "")) {
      return "the command line: " + *unknown;
    }
    if (next != nullptr && *next != "--") {
      return fmt::format(
          "the command line: --{0} has no value ('{1}' is an option; if it is meant, write "
          "--{0}={1})",
          name, *next);
    }
    return fmt::format("the command line: --{} has no value", name);
  }

  const Keys& keys_;
  const std::vector<std::string>& arguments_;
  std::size_t at_ = 0;
  CommandLine result_;
  std::vector<std::string> violations_;
};

/// What Boost makes of the joined words: guessing of long names is on by default and is off here.
std::vector<std::string> parsed_by_boost(const std::vector<std::string>& joined) {
  using namespace options::command_line_style;
  const options::options_description none;
  const auto parsed = options::command_line_parser(joined)
                          .options(none)
                          .style(allow_long | long_allow_adjacent)
                          .allow_unregistered()
                          .run();
  std::vector<std::string> result;
  for (const auto& option : parsed.options) {
    result.push_back("--" + option.string_key + "=" +
                     (option.value.empty() ? "" : option.value.front()));
  }
  return result;
}

}  // namespace

CommandLine split_command_line(const Keys& keys, const std::vector<std::string>& arguments) {
  auto line = Joiner(keys, arguments).run();
  line.options = parsed_by_boost(line.options);
  return line;
}

}  // namespace muster
