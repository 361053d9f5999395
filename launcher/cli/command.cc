// SPDX-License-Identifier: Apache-2.0
#include "launcher/cli/command.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "launcher/cli/build_info.h"
#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

constexpr int usual_width = 80;
constexpr int widest = 100;

/// Paragraphs wrapped to `width`; lines that start with a blank stay as they are.
std::string wrapped(const std::string& text, std::size_t width) {
  std::string result;
  std::size_t column = 0;
  const auto end_line = [&] {
    result += '\n';
    column = 0;
  };
  for (const auto& line : split(text, '\n')) {
    if (line.empty() || line.front() == ' ') {
      if (column != 0) {
        end_line();
      }
      result += line;
      end_line();
      continue;
    }
    for (const auto& word : words(line)) {
      if (column != 0 && column + 1 + word.size() > width) {
        end_line();
      }
      result += (column == 0 ? "" : " ") + word;
      column += (column == 0 ? 0 : 1) + word.size();
    }
  }
  if (column != 0) {
    end_line();
  }
  return result;
}

/// Each line at two blanks, what does not fit below it at eight.
std::string usage_lines(const std::string& usage, std::size_t width) {
  std::string result;
  for (const auto& line : split(usage, '\n')) {
    std::string rest = line;
    for (std::size_t indent = 2; !rest.empty(); indent = 8) {
      const auto cut =
          rest.size() + indent <= width ? rest.size() : rest.rfind(" [", width - indent);
      const bool fits = cut == std::string::npos || cut == 0 || cut == rest.size();
      result += std::string(indent, ' ') + (fits ? rest : rest.substr(0, cut)) + "\n";
      rest = fits ? "" : rest.substr(cut + 1);
    }
  }
  return result;
}

std::string help_of(const Keys& keys, const CommandHelp& help) {
  const auto width = static_cast<std::size_t>(terminal_width());
  std::string text =
      bold("Usage") + "\n" + usage_lines(help.usage, width) + "\n" + wrapped(help.about, width);
  if (!help.examples.empty()) {
    text += "\n" + bold("Examples") + "\n";
    for (const auto& example : help.examples) {
      text += fmt::format("  {}\n      {}\n", example.command, example.what);
    }
  }
  if (const auto options = help_text(keys, terminal_width()); !options.empty()) {
    text += "\n" + options;
  }
  return text;
}

std::string versions() {
  std::string text = fmt::format("muster {}\n", build_version());
  for (const auto& part : build_parts()) {
    text += fmt::format("  {:<16}{}\n", part.name, part.version);
  }
  return text;
}

const Command* find(std::span<const Command> commands, std::string_view name) {
  const auto at = std::ranges::find(commands, name, &Command::name);
  return at == commands.end() ? nullptr : &*at;
}

int complain_about(std::span<const Command> commands, const std::string& name) {
  Arguments names;
  std::ranges::transform(commands, std::back_inserter(names),
                         [](const Command& command) { return std::string(command.name); });
  const auto near = nearest(name, names);
  fmt::print(stderr, "muster: there is no command '{}'{}; 'muster --help' lists them\n", name,
             near ? fmt::format(" (did you mean '{}'?)", *near) : "");
  return exit_usage;
}

int guarded(const Command& command, const Arguments& arguments) {
  try {
    return command.run(arguments);
  } catch (const std::exception& error) {
    std::fflush(stdout);
    fmt::print(stderr, "muster {}: {}\n", command.name, report(error));
    return exit_code_of(error);
  }
}

}  // namespace

std::optional<CommandLine> take_command_line(const Keys& keys, const Arguments& arguments,
                                             const CommandHelp& help) {
  const bool asks =
      std::ranges::any_of(arguments.begin(), std::ranges::find(arguments, "--"),
                          [](const std::string& word) { return word == "--help" || word == "-h"; });
  if (asks) {  // before anything else: a mistake beside it must not hide the help
    fmt::print("{}", help_of(keys, help));
    return std::nullopt;
  }
  return split_command_line(keys, arguments);
}

std::string overview(std::span<const Command> commands) {
  std::string text = fmt::format(
      "{} trains and tunes models on your own machines.\n\n{}\n  muster COMMAND [arguments]\n",
      bold("muster " + build_version()), bold("Usage"));
  std::string_view group;
  for (const auto& command : commands) {
    if (command.group.empty()) {
      continue;  // for programs of Muster, not for people
    }
    if (command.group != group) {
      group = command.group;
      text += "\n" + bold(std::string(group)) + "\n";
    }
    text += fmt::format("  {:<12}{}\n", command.name, command.summary);
  }
  return text +
         "\n'muster COMMAND --help' tells more; 'muster --version' what it was built with.\n"
         "Exit codes: 0 finished, 1 failed, 64 bad usage, 75 saved: run me again,\n"
         "76 an older checkpoint stands, 77 stopped on purpose.\n";
}

int run_command(std::span<const Command> commands, const Arguments& arguments) {
  const std::string first = arguments.empty() ? "" : arguments.front();
  if (first.empty()) {
    fmt::print(stderr, "{}", overview(commands));
    return exit_usage;
  }
  if (first == "--version" || first == "version") {
    fmt::print("{}", versions());
    return exit_finished;
  }
  const bool asks_help = first == "--help" || first == "-h" || first == "help";
  if (asks_help && arguments.size() == 1) {
    fmt::print("{}", overview(commands));
    return exit_finished;
  }
  const std::string& name = asks_help ? arguments[1] : first;
  const auto* command = find(commands, name);
  if (command == nullptr) {
    return complain_about(commands, name);
  }
  return guarded(*command, asks_help ? Arguments{"--help"}
                                     : Arguments(arguments.begin() + 1, arguments.end()));
}

int terminal_width() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) {
    return usual_width;
  }
  return std::min<int>(size.ws_col, widest);
}

std::string bold(const std::string& text) {
  const bool wanted = ::isatty(STDOUT_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr;
  return wanted ? "\033[1m" + text + "\033[0m" : text;
}

}  // namespace muster
