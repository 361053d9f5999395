/// Ini: the lines of an INI file, each with its number. Boost.Program_options reads them one line
/// at a time under their section, since alone it reports one error and no line; what it would pass
/// in silence is refused here (interfaces.md, "The search space", last paragraph).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace muster {

struct IniEntry {
  std::string key;  ///< with its section: "optimizer.lr"
  std::string value;
  int line = 0;
};

struct IniSection {
  std::string name;
  int line = 0;
};

struct IniText {
  std::vector<IniEntry> entries;
  std::vector<IniSection> sections;
  std::vector<std::string> violations;  ///< "job.ini:3: ..."
};

/// Never throws for what the text says. `name` stands for the file in the violations.
IniText read_ini(std::string_view text, const std::string& name);

/// A value as it must be written so that it reads back: '#' begins a comment, so it becomes \x23.
std::string ini_escaped(std::string_view value);
/// The reverse: \x23 becomes '#'. Nothing else is touched.
std::string ini_unescaped(std::string_view value);

}  // namespace muster
