/// Resources: the cores and cards of a machine, and how they are divided among the ranks that run
/// on it. Pure but for the functions that ask the machine, so that every division is tested
/// without one.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/file_system.h"

namespace muster {

struct Machine {
  std::vector<int> cpus;          ///< that this process may use
  std::vector<std::string> gpus;  ///< as CUDA_VISIBLE_DEVICES names them
};
/// What this process may use of this machine: its affinity mask, cut by the cgroup's quota;
/// CUDA_VISIBLE_DEVICES or the driver's devices.
Machine this_machine();
/// Where the driver tells of the machine's cards, and where their device files lie.
struct DriverPlaces {
  Path cards = "/proc/driver/nvidia/gpus";
  Path devices = "/dev";
};
/// What CUDA shows a process. `setting`: of CUDA_VISIBLE_DEVICES. Without one, the cards whose
/// device file it may open: the driver tells of those too that a control group withholds.
std::vector<std::string> visible_gpus(const std::optional<std::string>& setting,
                                      const DriverPlaces& places = {});
/// Cores that the control group pays for, or 0 where it sets no limit.
int cpu_quota();

/// What one rank gets.
struct Share {
  std::vector<int> cpus;  ///< a slice; all of them when there are more ranks than cores
  int threads = 1;
  std::vector<std::string> gpus;  ///< at most one: the local rank modulo the visible ones
};
/// `ranks` even shares. `threads` > 0 overrides the number of threads.
std::vector<Share> divide(const Machine& machine, int ranks, int threads = 0);

/// What the ranks of a machine do with its cards.
enum class CardUse {
  one_each,  ///< Muster's own: each sees the card of its share
  all_seen,  ///< any other program: it chooses by LOCAL_RANK, as under torchrun
  none,      ///< Muster's own, on the CPU
};
/// What is amiss where each rank takes a card: cards that none takes, or fewer cards than ranks. ""
/// where it fits, or there is no card. `remedy` makes ranks as many as cards.
std::string misfit(std::size_t cards, std::size_t ranks, std::string_view remedy);
/// "2 ranks on this machine: 1 core and 1 thread each, no GPU", and aloud when there are more ranks
/// than cores, or not as many as cards.
std::string describe(const Machine& machine, const std::vector<Share>& shares,
                     const std::string& where, CardUse use = CardUse::one_each);
/// "1 rank", "2 ranks".
std::string counted(std::size_t count, std::string_view noun);

}  // namespace muster
