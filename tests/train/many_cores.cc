// A machine of eight cores, to be loaded before a rank: what it asks about its cores is answered
// here. With MANY_CORES_BOUND each rank begins bound to one core, as mpirun does it.
// SPDX-License-Identifier: Apache-2.0
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

namespace {

cpu_set_t whole() {
  cpu_set_t all;
  CPU_ZERO(&all);
  for (int cpu = 0; cpu < 8; ++cpu) {
    CPU_SET(cpu, &all);
  }
  return all;
}

cpu_set_t at_start() {
  const char* rank = std::getenv("OMPI_COMM_WORLD_LOCAL_RANK");
  if (rank == nullptr || std::getenv("MANY_CORES_BOUND") == nullptr) {
    return whole();
  }
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(std::atoi(rank), &one);
  return one;
}

/// A mask a thread: libraries look at the machine with threads of their own, and leave those where
/// they like.
std::mutex masks_mutex;
cpu_set_t& mask_of(pid_t thread) {
  static auto* masks = new std::map<pid_t, cpu_set_t>;  // libraries ask before main and after it
  return masks->try_emplace(thread == 0 ? ::gettid() : thread, at_start()).first->second;
}

}  // namespace

extern "C" int sched_getaffinity(pid_t process, std::size_t bytes, cpu_set_t* mask) noexcept {
  const std::lock_guard lock(masks_mutex);
  const cpu_set_t known = process == ::getppid() ? whole() : mask_of(process);
  std::memset(mask, 0, bytes);
  std::memcpy(mask, &known, std::min(bytes, sizeof known));
  return 0;
}

extern "C" int sched_setaffinity(pid_t process, std::size_t bytes, const cpu_set_t* mask) noexcept {
  const std::lock_guard lock(masks_mutex);
  std::memcpy(&mask_of(process), mask, std::min(bytes, sizeof *mask));
  return 0;
}
