// The probes of the machine itself: cores, memory, shared memory, disk, limits.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "launcher/doctor/doctor.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

using State = Finding::State;

/// The values of "key : value" lines, one for each processor.
std::vector<std::string> values_of(const std::string& cpuinfo, std::string_view key) {
  std::vector<std::string> values;
  for (const auto& line : split(cpuinfo, '\n')) {
    const auto colon = line.find(':');
    if (colon != std::string::npos && trim(std::string_view(line).substr(0, colon)) == key) {
      values.emplace_back(trim(std::string_view(line).substr(colon + 1)));
    }
  }
  return values;
}

/// "0-3,8" from 0 1 2 3 8.
std::string ranges_of(const std::vector<int>& cpus) {
  std::string text;
  for (std::size_t at = 0; at < cpus.size();) {
    std::size_t end = at;
    while (end + 1 < cpus.size() && cpus[end + 1] == cpus[end] + 1) {
      ++end;
    }
    text += fmt::format("{}{}", text.empty() ? "" : ",", cpus[at]);
    text += end > at ? fmt::format("-{}", cpus[end]) : "";
    at = end + 1;
  }
  return text;
}

/// Cores that a control group lets this process use at once, where it limits them.
std::optional<double> quota(World& world) {
  const auto text = world.read("/sys/fs/cgroup/cpu.max");
  const auto parts = words(text.value_or(""));
  if (parts.size() != 2) {
    return std::nullopt;
  }
  const auto most = parse_double(parts[0]);
  const auto period = parse_double(parts[1]);
  return most && period && *period > 0 ? std::optional(*most / *period) : std::nullopt;
}

Finding cores(World& world) {
  const auto cpuinfo = world.read("/proc/cpuinfo").value_or("");
  const auto all = values_of(cpuinfo, "processor").size();
  const auto models = values_of(cpuinfo, "model name");
  const auto allowed = world.allowed_cpus();
  std::string value = fmt::format("{} of {} ({})", allowed.size(), all, ranges_of(allowed));
  if (!models.empty()) {
    value += ", " + models.front();
  }
  for (const std::string_view set : {"avx512f", "avx2", "asimd"}) {
    const auto flags = values_of(cpuinfo, "flags");
    if (!flags.empty() && std::ranges::count(words(flags.front()), set) != 0) {
      value += fmt::format(", {}", set);
      break;
    }
  }
  const auto most = quota(world);
  if (most && *most + 0.01 < static_cast<double>(allowed.size())) {
    return {"cores", "Cores", State::poor,
            fmt::format("{}, limited to {:.1f} by cgroup", value, *most),
            "more busy threads than that are throttled: set ranks x train.threads to fit"};
  }
  return {"cores", "Cores", State::good, value, ""};
}

Finding memory(World& world) {
  const auto info = world.read("/proc/meminfo").value_or("");
  const auto kilobytes = [&](std::string_view key) {
    const auto values = values_of(info, key);
    const auto parts = words(values.empty() ? "" : values.front());
    return parts.empty() ? 0.0 : parse_double(parts.front()).value_or(0) * 1024;
  };
  const double total = kilobytes("MemTotal");
  const double available = kilobytes("MemAvailable");
  const auto value = human_bytes(total) + ", " + human_bytes(available) + " free";
  if (total > 0 && available < 1e9) {
    return {"memory", "Memory", State::poor, value,
            "too little is free for a rank: about 1 GB each"};
  }
  return {"memory", "Memory", State::good, value, ""};
}

Finding shared_memory(World& world) {
  const auto space = world.space("/dev/shm");
  if (!space) {
    return {"shared_memory", "/dev/shm", State::missing, "not mounted",
            "ranks of one machine meet there: mount -t tmpfs tmpfs /dev/shm"};
  }
  const auto value = human_bytes(static_cast<double>(space->total)) + ", " +
                     human_bytes(static_cast<double>(space->free)) + " free";
  constexpr std::uint64_t least = std::uint64_t{256} << 20;
  if (space->free < least) {
    return {"shared_memory", "/dev/shm", State::poor, value,
            "parameters and gradients of all ranks live there: mount -o remount,size=50% /dev/shm, "
            "or in a container start it with --shm-size"};
  }
  return {"shared_memory", "/dev/shm", State::good, value, ""};
}

Finding disk(World& world, const std::string& directory) {
  const auto space = world.space(directory);
  try {
    const double rate = world.write_rate(directory);
    auto value = fmt::format("{}/s durable in {}", human_bytes(rate), directory);
    if (space) {
      value += ", " + human_bytes(static_cast<double>(space->free)) + " free";
    }
    if (rate < 20e6) {
      return {"disk", "Disk", State::poor, value,
              "checkpoints will be slow here: put 'runs' on a faster file system"};
    }
    return {"disk", "Disk", State::good, value, ""};
  } catch (const std::exception& error) {
    return {"disk", "Disk", State::missing, std::string("cannot be written: ") + error.what(),
            "runs and checkpoints need a directory that can be written: see --disk"};
  }
}

}  // namespace

std::vector<Finding> examine_machine(World& world, const std::string& directory) {
  return {cores(world), memory(world), shared_memory(world), disk(world, directory)};
}

}  // namespace muster
