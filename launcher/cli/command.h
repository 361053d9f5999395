/// Command: one word behind `muster`, and what every one of them does alike: take its command line
/// apart, print a help that a person enjoys, know the width of the terminal.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/config/keys.h"
#include "runtime/config/load.h"

namespace muster {

using Arguments = std::vector<std::string>;

struct Command {
  std::string_view group;    ///< "Run", "Watch": commands of a group stand together in the table
  std::string_view name;     ///< "train"
  std::string_view summary;  ///< one line
  int (*run)(const Arguments& arguments);  ///< the exit code; throws Error
};

/// What `muster NAME --help` says besides the options.
struct CommandHelp {
  std::string usage;  ///< "muster train JOB.ini [--section.key value ...]", one form a line
  std::string about;  ///< paragraphs, separated by empty lines; wrapped to the terminal
  struct Example {
    std::string command;
    std::string what;
  };
  std::vector<Example> examples{};
};

/// The command line, taken apart; or nothing when it asked for help, which is then on stdout.
std::optional<CommandLine> take_command_line(const Keys& keys, const Arguments& arguments,
                                             const CommandHelp& help);

/// What `muster --help` says.
std::string overview(std::span<const Command> commands);
/// Runs the command that the first argument names; errors become a sentence on stderr and an exit
/// code. What main() calls.
int run_command(std::span<const Command> commands, const Arguments& arguments);

/// Columns of the terminal on stdout, at most 100; 80 where there is none.
int terminal_width();
/// The text in bold when stdout is a terminal that wants it (NO_COLOR).
std::string bold(const std::string& text);

}  // namespace muster
