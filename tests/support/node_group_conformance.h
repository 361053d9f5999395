/// What every node group must do, whatever its ranks are. Bodies for run_threads and run_processes.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>

#include "tests/support/ranks.h"

namespace muster::test {

/// Each rank adds one and waits; after n rounds all see all additions, never one too few.
inline void meets_in_every_round(LocalGroup& group) {
  const auto memory = group.share(4096);
  auto& count = *reinterpret_cast<std::atomic<int>*>(memory->bytes().data());
  for (int round = 1; round <= 500; ++round) {
    ++count;
    group.barrier();
    demand(count == round * group.size(), "a rank left the barrier before all had come");
    group.barrier();
  }
}

inline void shares_zeroed_memory(LocalGroup& group) {
  for (const std::size_t bytes : {std::size_t{1}, std::size_t{4097}, std::size_t{1} << 20U}) {
    const auto memory = group.share(bytes);
    demand(memory->bytes().size() == bytes && memory->bytes().back() == std::byte{0},
           "a window is zeroed and has its size");
    demand(reinterpret_cast<std::uintptr_t>(memory->bytes().data()) % 4096 == 0,
           "a window starts a page");
    group.barrier();
    if (group.rank() == group.size() - 1) {
      memory->bytes().back() = std::byte{7};
    }
    group.barrier();
    demand(memory->bytes().back() == std::byte{7}, "what one rank writes, all see");
  }
}

inline void finds_places_in_windows(LocalGroup& group) {
  const auto memory = group.share(8192);
  const auto place = group.place_of(memory->bytes().data() + 64, 128);
  demand(place.has_value() && place->offset == 64, "a range of a window has a place");
  demand(group.address_of(*place, 128) == memory->bytes().data() + 64,
         "a place leads back to its memory");
  demand(!group.place_of(memory->bytes().data() + 8000, 1000),
         "a range that leaves the window has none");
  int local = 0;
  demand(!group.place_of(&local, sizeof local), "other memory has none");
}

/// Even and odd ranks part; the key turns their order round.
inline void splits_by_colour(LocalGroup& group) {
  const auto part = group.split(group.rank() % 2, -group.rank());
  const int expected_size = (group.size() + 1 - group.rank() % 2) / 2;
  demand(part->size() == expected_size, "a subgroup has the ranks of its colour");
  demand(part->rank() == expected_size - 1 - group.rank() / 2, "a subgroup is ordered by key");
  meets_in_every_round(*part);
  finds_places_in_windows(*part);
  const auto window = group.share(4096);
  demand(part->place_of(window->bytes().data(), 64).has_value(),
         "windows of the whole group serve its parts");
  const auto mine = part->share(4096);
  demand(!group.place_of(mine->bytes().data(), 64), "windows of a part do not serve the whole");
  demand(group.split(-1, 0) == nullptr, "a negative colour joins none");
  group.barrier();
}

inline void abort_ends_all_waits(LocalGroup& group) {
  group.barrier();
  if (group.rank() == group.size() - 1) {
    group.abort("out of milk");
  }
  group.barrier();
  demand(false, "a barrier after abort() must throw");
}

}  // namespace muster::test
