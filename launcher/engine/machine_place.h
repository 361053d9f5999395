/// MachinePlace: which of the processes that a launcher started on this machine this one is, and
/// which of the machine's cards are its own. Told by the environment alone.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "runtime/comm/launch_context.h"

namespace muster {

struct MachinePlace {
  int local_rank = 0;
  int local_size = 1;
};
/// Open MPI's or Slurm's word; alone where neither has spoken.
MachinePlace machine_place(const Environment& environment);

/// An even part of the cards; one that is shared where there are fewer than processes.
std::vector<std::string> own_cards(const std::vector<std::string>& cards, MachinePlace place);

/// Leaves CUDA one card of those that it would show this process: its own. To be called before CUDA
/// is first asked.
void see_only_own_card();
/// The same for trials that are to use none.
void see_no_card();

}  // namespace muster
