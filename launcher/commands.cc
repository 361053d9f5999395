// SPDX-License-Identifier: Apache-2.0
#include "launcher/commands.h"

#include <array>

namespace muster {
namespace {

// Groups, in order: Run, Watch, Steer, Tools.
constexpr std::array table{
    Command{"Tools", "checkpoint", "Verify checkpoints, export them to other formats",
            command_checkpoint},
    Command{"Tools", "convert", "Any data set as HDF5 that trains fastest, with checksums",
            command_convert},
    Command{"Tools", "doctor", "What this machine offers, and how to get what is missing",
            command_doctor},
};

}  // namespace

std::span<const Command> commands() {
  return table;
}

}  // namespace muster
