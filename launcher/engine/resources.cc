// SPDX-License-Identifier: Apache-2.0
#include "launcher/engine/resources.h"

#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "runtime/base/file_system.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

std::vector<int> allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  ::sched_getaffinity(0, sizeof set, &set);
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(static_cast<std::size_t>(cpu), &set)) {
      cpus.push_back(cpu);
    }
  }
  return cpus;
}

/// "3", "GPU-8932f937" or "MIG-..." as a name that is the same however it is written; "" for
/// anything else.
std::string card_name(std::string_view word) {
  if (const auto index = parse_int(word); index && *index >= 0) {
    return std::to_string(*index);
  }
  return word.starts_with("GPU-") || word.starts_with("MIG-") ? std::string(word) : "";
}

/// As CUDA reads it: up to the first word that names no card ("-1", Slurm's "NoDevFiles"), and a
/// card named twice is none at all.
std::vector<std::string> named_gpus(std::string_view setting) {
  std::vector<std::string> gpus;
  for (const auto& word : split(setting, ',')) {
    auto name = card_name(trim(word));
    if (name.empty()) {
      break;
    }
    if (std::ranges::find(gpus, name) != gpus.end()) {
      return {};
    }
    gpus.push_back(std::move(name));
  }
  return gpus;
}

std::string words_of_cards(std::size_t cards, std::size_t ranks, CardUse use) {
  if (cards == 0) {
    return "no GPU";
  }
  if (use == CardUse::none) {
    return counted(cards, "GPU") + " unused";
  }
  if (use == CardUse::all_seen) {
    return counted(cards, "GPU") + " seen by each";
  }
  const auto amiss = misfit(cards, ranks, fmt::format("--ranks={}", cards));
  return ranks > cards ? amiss : "one GPU each" + (amiss.empty() ? "" : "; " + amiss);
}

/// access() asks the control group as open() does, and wakes no card that sleeps.
bool may_open(const Path& card, const Path& devices) {
  const auto information = read_file_if_there(card / "information");
  for (const auto& line : split(information.value_or(""), '\n')) {
    const auto colon = line.find(':');
    if (colon != std::string::npos && trim(line.substr(0, colon)) == "Device Minor") {
      const Path file = devices / fmt::format("nvidia{}", trim(line.substr(colon + 1)));
      return ::access(file.c_str(), R_OK | W_OK) == 0;
    }
  }
  return false;
}

}  // namespace

int cpu_quota() {
  if (const auto limit = read_file_if_there(
          "/sys/fs/cgroup/cpu.max")) {  // version 2: "200000 100000" or "max 100000"
    const auto parts = words(*limit);
    const auto quota = parts.empty() ? std::nullopt : parse_double(parts[0]);
    const auto period = parts.size() < 2 ? std::nullopt : parse_double(parts[1]);
    return quota && period && *period > 0 ? static_cast<int>(std::ceil(*quota / *period)) : 0;
  }
  const auto quota = read_file_if_there("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
  const auto period = read_file_if_there("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  if (!quota || !period) {
    return 0;
  }
  const double microseconds = parse_double(trim(*quota)).value_or(-1);
  const double every = parse_double(trim(*period)).value_or(0);
  return microseconds > 0 && every > 0 ? static_cast<int>(std::ceil(microseconds / every)) : 0;
}

std::string counted(std::size_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string misfit(std::size_t cards, std::size_t ranks, std::string_view remedy) {
  if (cards == 0 || cards == ranks) {
    return "";
  }
  return cards > ranks
             ? fmt::format("{} of {} GPUs idle ({} uses all)", cards - ranks, cards, remedy)
             : fmt::format("{} cannot share {}: {}, or train.device=cpu", counted(ranks, "rank"),
                           counted(cards, "GPU"), remedy);
}

std::vector<std::string> visible_gpus(const std::optional<std::string>& setting,
                                      const DriverPlaces& places) {
  if (setting) {
    return named_gpus(*setting);
  }
  std::vector<std::string> gpus;
  // Where the driver was never used since the machine started, CUDA itself makes the files.
  const bool are_made = posix_file_system().exists(places.devices / "nvidiactl");
  for (const auto& name : posix_file_system().list(places.cards)) {
    if (!are_made || may_open(places.cards / name, places.devices)) {
      gpus.push_back(std::to_string(gpus.size()));  // CUDA counts those that it can open
    }
  }
  return gpus;
}

Machine this_machine() {
  const char* setting = std::getenv("CUDA_VISIBLE_DEVICES");
  Machine machine{
      allowed_cpus(),
      visible_gpus(setting == nullptr ? std::nullopt : std::optional<std::string>(setting))};
  if (const int quota = cpu_quota();
      quota > 0 && static_cast<std::size_t>(quota) < machine.cpus.size()) {
    machine.cpus.resize(static_cast<std::size_t>(quota));
  }
  return machine;
}

std::vector<Share> divide(const Machine& machine, int ranks, int threads) {
  const std::size_t each = machine.cpus.size() / static_cast<std::size_t>(std::max(ranks, 1));
  std::vector<Share> shares;
  for (int rank = 0; rank < ranks; ++rank) {
    const auto place = static_cast<std::size_t>(rank);
    Share share;
    share.threads = threads > 0 ? threads : static_cast<int>(std::max<std::size_t>(each, 1));
    if (each == 0) {
      share.cpus = machine.cpus;
    } else {
      const auto first = machine.cpus.begin() + static_cast<std::ptrdiff_t>(place * each);
      share.cpus.assign(first, first + static_cast<std::ptrdiff_t>(each));
    }
    if (!machine.gpus.empty()) {
      share.gpus.push_back(machine.gpus[place % machine.gpus.size()]);
    }
    shares.push_back(std::move(share));
  }
  return shares;
}

std::string describe(const Machine& machine, const std::vector<Share>& shares,
                     const std::string& where, CardUse use) {
  if (shares.empty()) {
    return "no ranks on " + where;
  }
  const std::size_t ranks = shares.size();
  const Share& first = shares.front();
  const bool crowded = ranks > machine.cpus.size();
  std::string text = fmt::format("{} on {}: ", counted(ranks, "rank"), where);
  text += crowded ? fmt::format("{} shared", counted(machine.cpus.size(), "core"))
                  : counted(first.cpus.size(), "core");
  text += fmt::format(" and {} each, ", counted(static_cast<std::size_t>(first.threads), "thread"));
  text += words_of_cards(machine.gpus.size(), ranks, use);
  const std::size_t wanted = ranks * static_cast<std::size_t>(first.threads);
  if (wanted > machine.cpus.size()) {
    text += fmt::format(
        "; OVERSUBSCRIBED: {} on {}, expect less than {:.0f} % of the speed of a rank alone",
        counted(wanted, "thread"), counted(machine.cpus.size(), "core"),
        100.0 * static_cast<double>(machine.cpus.size()) / static_cast<double>(wanted));
  }
  return text;
}

}  // namespace muster
