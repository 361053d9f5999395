/// The commands of `muster`. Each is a file launcher/command_NAME.cc; the table is in commands.cc.
/// To add one: declare it here, add its row there, list its file in CMakeLists.txt.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "launcher/cli/command.h"

namespace muster {

int command_checkpoint(const Arguments& arguments);
int command_convert(const Arguments& arguments);
int command_doctor(const Arguments& arguments);

std::span<const Command> commands();

}  // namespace muster
