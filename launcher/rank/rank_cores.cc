// SPDX-License-Identifier: Apache-2.0
#include "launcher/rank/rank_cores.h"

#include <unistd.h>

#include <algorithm>
#include <vector>

#include "collectives/node/cpu_shares.h"
#include "launcher/engine/resources.h"

namespace muster {

RankCores::RankCores(const LaunchContext& context) : mask_(allowed_cpus()) {
  cpu_set_t launchers;
  CPU_ZERO(&launchers);
  const bool is_bound = context.starter == Starter::open_mpi && context.bind &&
                        ::sched_getaffinity(::getppid(), sizeof launchers, &launchers) == 0;
  if (is_bound) {
    move_threads(mask_, launchers);
    mask_ = allowed_cpus();
  }
}

int RankCores::threads_each(NodeGroup& node) const {
  const auto memory = node.share(sizeof(cpu_set_t) * static_cast<std::size_t>(node.size()));
  const std::span masks(reinterpret_cast<cpu_set_t*>(memory->bytes().data()),
                        static_cast<std::size_t>(node.size()));
  masks[static_cast<std::size_t>(node.rank())] = mask_;
  node.barrier();
  const int threads = muster::threads_each(masks, cpu_quota());
  node.barrier();
  return threads;
}

int threads_each(std::span<const cpu_set_t> masks, int quota) {
  cpu_set_t all;
  CPU_ZERO(&all);
  for (const cpu_set_t& mask : masks) {
    CPU_OR(&all, &all, &mask);
  }
  const int cores = quota > 0 ? std::min(quota, CPU_COUNT(&all)) : CPU_COUNT(&all);
  return std::max(1, cores / static_cast<int>(masks.size()));
}

}  // namespace muster
