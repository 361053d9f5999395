// SPDX-License-Identifier: Apache-2.0
#include "collectives/node/cpu_shares.h"

#include <dirent.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

namespace muster {
namespace {

std::vector<int> cpus_of(const cpu_set_t& mask) {
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &mask)) {
      cpus.push_back(cpu);
    }
  }
  return cpus;
}

std::optional<std::vector<cpu_set_t>> split_evenly(const cpu_set_t& mask, std::size_t ranks) {
  const auto cpus = cpus_of(mask);
  const std::size_t each = cpus.size() / ranks;
  if (each == 0) {
    return std::nullopt;
  }
  std::vector<cpu_set_t> shares(ranks);
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    CPU_ZERO(&shares[rank]);
    for (std::size_t i = rank * each; i < (rank + 1) * each; ++i) {
      CPU_SET(cpus[i], &shares[rank]);
    }
  }
  return shares;
}

bool are_disjoint(std::span<const cpu_set_t> masks) {
  cpu_set_t seen;
  CPU_ZERO(&seen);
  for (const auto& mask : masks) {
    cpu_set_t both;
    CPU_AND(&both, &seen, &mask);
    if (CPU_COUNT(&both) != 0 || CPU_COUNT(&mask) == 0) {
      return false;
    }
    CPU_OR(&seen, &seen, &mask);
  }
  return true;
}

}  // namespace

cpu_set_t allowed_cpus() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  ::sched_getaffinity(0, sizeof mask, &mask);
  return mask;
}

std::optional<std::vector<cpu_set_t>> cpu_shares(std::span<const cpu_set_t> allowed) {
  const auto same = [&](const cpu_set_t& mask) { return CPU_EQUAL(&mask, &allowed.front()); };
  if (std::ranges::all_of(allowed, same)) {
    return split_evenly(allowed.front(), allowed.size());
  }
  if (are_disjoint(allowed)) {
    return std::vector<cpu_set_t>(allowed.begin(), allowed.end());
  }
  return std::nullopt;
}

void move_threads(const cpu_set_t& from, const cpu_set_t& to) noexcept {
  const std::unique_ptr<DIR, int (*)(DIR*)> tasks(::opendir("/proc/self/task"), &::closedir);
  while (const dirent* entry = tasks ? ::readdir(tasks.get()) : nullptr) {
    const pid_t thread = std::atoi(entry->d_name);
    cpu_set_t mask;
    CPU_ZERO(&mask);
    if (thread > 0 && ::sched_getaffinity(thread, sizeof mask, &mask) == 0 &&
        CPU_EQUAL(&mask, &from)) {
      ::sched_setaffinity(thread, sizeof to, &to);
    }
  }
}

}  // namespace muster
