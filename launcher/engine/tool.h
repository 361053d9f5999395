/// Small programs of the system (squeue, sbatch, scontrol) run to their end, with what they
/// printed.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "launcher/engine/process.h"

namespace muster {

struct ToolAnswer {
  Ended ended;
  std::string output;  ///< of both streams, in order
};
/// Runs `command` with our environment and reads all it prints. One that takes longer than
/// `at_most` is killed.
ToolAnswer run_tool(const std::vector<std::string>& command, std::chrono::milliseconds at_most);
/// The program in PATH, or an empty string.
std::string find_program(const std::string& name);

}  // namespace muster
