/// load: fills the fields of a Keys from an INI file, the environment and a command line.
/// Command line beats environment beats file beats default. All violations are told at once.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/config/keys.h"

namespace muster {

/// What is read.
struct Sources {
  std::optional<std::string> file;                 ///< path
  std::map<std::string, std::string> environment;  ///< only MUSTER_* is looked at
  std::vector<std::string> arguments;  ///< "--train.epochs" "3", "--train.epochs=3", "--strict"
};

/// The outcome: the fields are filled; this remembers from where.
struct Resolved {
  Origins origins;  ///< of every key that is not at its default
  /// The resolved file: reads back to the same settings. What config.ini holds.
  std::string file_text;
  /// The same with "# job.ini:4" behind each value. What --print-config shows.
  std::string explained_text;
  /// Worth a line in the log: variables that look like keys and are none.
  std::vector<std::string> warnings;
};

/// Fills the fields, or throws one Error(bad_input) that lists every violation with its place:
/// unknown key (and the nearest known one), wrong type, out of range, missing file, the traps of
/// the INI parser (interfaces.md).
Resolved load(Keys& keys, const Sources& sources);

/// The same from a text that is already in memory; `name` stands for the file in messages.
Resolved load_text(Keys& keys, const std::string& text, const std::string& name);

/// The keys whose value differs between the resolved files of two runs and that may not change.
std::vector<std::string> forbidden_differences(const Keys& keys, const std::string& resolved_now,
                                               const std::string& resolved_before);

/// Refuses such differences: throws bad_input that names them and the ways out. `directory` is that
/// of the run or sweep `name`.
void require_same_settings(const Keys& keys, const std::string& resolved_now,
                           const std::string& resolved_before, const std::string& name,
                           const std::string& directory);

/// A command line taken apart: what belongs to options, the free words, and what follows "--".
struct CommandLine {
  std::vector<std::string> options;  ///< each as "--key=value": fit for Sources::arguments
  std::vector<std::string> words;    ///< "job.ini"
  std::vector<std::string> rest;     ///< behind "--"
  bool has_rest = false;
  bool wants_help = false;  ///< --help, -h
};
/// Throws bad_input for an option without its value and for "-x".
CommandLine split_command_line(const Keys& keys, const std::vector<std::string>& arguments);

/// This process's environment as a map.
std::map<std::string, std::string> current_environment();
/// Variables of Muster that are no keys: MUSTER_TORCH, MUSTER_METRICS, MUSTER_CHECKPOINT_DIR.
bool is_reserved_variable(std::string_view name);

/// Several sentences as one Error: the sentence itself when it is one, else a list.
[[noreturn]] void throw_violations(const std::vector<std::string>& violations,
                                   Where where = Where::here());

}  // namespace muster
