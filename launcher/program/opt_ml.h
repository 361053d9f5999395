/// opt_ml: a program with `/opt/ml` built in sees its own tree there, in a mount namespace of its
/// own, without root and without a trace on the machine. Uses unshare(1) and mount(8).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "runtime/base/file_system.h"

namespace muster {

/// A script among the words of the command has the path in it.
bool names_opt_ml(const std::vector<std::string>& command, const Path& directory);
/// Why this machine cannot bind the path, and what to do; nothing when it can. Tried once.
std::optional<std::string> opt_ml_problem();
/// The command, with `tree` at /opt/ml when it runs.
std::vector<std::string> with_opt_ml(const std::vector<std::string>& command, const Path& tree);
/// All of it: binds where a script wants it and it can be done, and says once why not.
std::vector<std::string> bind_opt_ml_if_named(const std::vector<std::string>& command,
                                              const Path& directory, const Path& tree);

}  // namespace muster
