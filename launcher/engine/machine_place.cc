// SPDX-License-Identifier: Apache-2.0
#include "launcher/engine/machine_place.h"

#include <algorithm>
#include <cstdlib>

#include "launcher/engine/resources.h"
#include "launcher/engine/slurm_environment.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

int number_of(const Environment& environment, std::string_view variable, int otherwise) {
  const auto found = environment.find(variable);
  return found == environment.end()
             ? otherwise
             : static_cast<int>(parse_int(found->second).value_or(otherwise));
}

/// "2(x3),1", by node.
int tasks_of_node(const Environment& environment) {
  const auto counts = environment.find("SLURM_STEP_TASKS_PER_NODE");
  const int node = number_of(environment, "SLURM_NODEID", -1);
  if (counts == environment.end() || node < 0) {
    return 1;
  }
  const auto all = expand_counts(counts->second);
  const auto index = static_cast<std::size_t>(node);
  return index < all.size() ? all[index] : 1;
}

}  // namespace

MachinePlace machine_place(const Environment& environment) {
  if (environment.contains("OMPI_COMM_WORLD_LOCAL_RANK")) {
    return {number_of(environment, "OMPI_COMM_WORLD_LOCAL_RANK", 0),
            std::max(1, number_of(environment, "OMPI_COMM_WORLD_LOCAL_SIZE", 1))};
  }
  return {number_of(environment, "SLURM_LOCALID", 0), std::max(1, tasks_of_node(environment))};
}

std::vector<std::string> own_cards(const std::vector<std::string>& cards, MachinePlace place) {
  if (cards.empty() || place.local_size <= 1) {
    return cards;
  }
  const auto rank = static_cast<std::size_t>(place.local_rank);
  const auto size = static_cast<std::size_t>(place.local_size);
  if (cards.size() < size) {
    return {cards[rank % cards.size()]};
  }
  const auto at = [&](std::size_t part) {
    return cards.begin() + static_cast<std::ptrdiff_t>(cards.size() * part / size);
  };
  return {at(rank), at(rank + 1)};
}

void see_only_own_card() {
  const auto cards = this_machine().gpus;
  if (cards.size() > 1) {
    const auto place = machine_place(process_environment());
    const auto index = static_cast<std::size_t>(place.local_rank) % cards.size();
    ::setenv("CUDA_VISIBLE_DEVICES", cards[index].c_str(), 1);
  }
}

void see_no_card() {
  ::setenv("CUDA_VISIBLE_DEVICES", "", 1);
}

}  // namespace muster
