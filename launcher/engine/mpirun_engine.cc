// Ranks over hosts by Open MPI's mpirun. It takes TERM as an order to kill, so it only ever sees
// USR1, which it passes on. SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "launcher/engine/choose.h"
#include "launcher/engine/launched_group.h"
#include "launcher/engine/tool.h"
#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

/// Variables that other hosts need and that mpirun takes there only when told. What ranks of this
/// host need of the rest they have from mpirun itself.
bool travels(std::string_view name) {
  if (name == "CUDA_VISIBLE_DEVICES") {
    return false;  // it names cards of this host
  }
  for (const char* prefix : {"MUSTER_", "SM_", "OMP_", "MKL_", "CUDA_", "NCCL_", "FI_", "UCX_",
                             "GLOO_", "PYTHON", "LD_LIBRARY_PATH", "VIRTUAL_ENV"}) {
    if (name.starts_with(prefix)) {
      return true;
    }
  }
  return name == "PATH" || name == "MASTER_ADDR" || name == "MASTER_PORT";
}

std::vector<Host> usable_hosts(const JobLaunch& launch) {
  std::vector<Host> hosts;
  std::ranges::copy_if(launch.hosts, std::back_inserter(hosts), [&](const Host& host) {
    return std::ranges::find(launch.excluded_hosts, host.name) == launch.excluded_hosts.end();
  });
  return hosts;
}

std::string host_list(const std::vector<Host>& hosts) {
  std::vector<std::string> parts;
  for (const auto& host : hosts) {
    parts.push_back(host.slots > 0 ? fmt::format("{}:{}", host.name, host.slots) : host.name);
  }
  return join(parts, ",");
}

std::optional<std::string> explain(const std::vector<std::string>& words) {
  const auto text = join(words, " ");
  if (text.find("not enough slots") != std::string::npos) {
    return "mpirun has fewer slots than ranks: give more in hosts = a:2,b:2, or lower ranks";
  }
  if (text.find("unable to reach") != std::string::npos ||
      text.find("Could not resolve hostname") != std::string::npos ||
      text.find("ssh:") != std::string::npos) {
    return "mpirun cannot reach a host: check the names in hosts, and that ssh to each works "
           "without a password";
  }
  if (text.find("was unable to find the specified executable") != std::string::npos ||
      text.find("was unable to launch the specified") != std::string::npos) {
    return "mpirun found no Muster on a host: install it at the same path on every host";
  }
  return std::nullopt;
}

class MpirunEngine final : public Engine {
 public:
  std::string_view name() const override { return "mpirun"; }

  std::string plan(const JobLaunch& launch) const override {
    const auto hosts = usable_hosts(launch);
    if (hosts.empty()) {
      const Machine machine = this_machine();
      return describe(machine, divide(machine, launch.ranks, launch.threads),
                      "this machine by mpirun", launch.cards());
    }
    int slots = 0;
    for (const auto& host : hosts) {
      slots += std::max(host.slots, 1);
    }
    std::string text =
        fmt::format("{} by mpirun on {}: each host divides its cores and GPUs",
                    counted(static_cast<std::size_t>(launch.ranks), "rank"), host_list(hosts));
    if (slots < launch.ranks) {
      text += fmt::format("; OVERSUBSCRIBED: {} ranks in {} slots", launch.ranks, slots);
    }
    return text;
  }

  std::unique_ptr<RankGroup> start(const JobLaunch& launch) override {
    std::vector<std::string> command{
        "mpirun",          "-np",   std::to_string(launch.ranks), "--bind-to", "none",
        "--oversubscribe", "--mca", "odls_base_sigkill_timeout",  "30"};
    if (::geteuid() == 0) {
      command.emplace_back("--allow-run-as-root");
    }
    if (const auto hosts = usable_hosts(launch); !hosts.empty()) {
      command.insert(command.end(), {"--host", host_list(hosts)});
    }
    for (const auto& [variable, value] : launch.environment) {
      if (travels(variable)) {
        command.insert(command.end(), {"-x", variable});
      }
    }
    command.insert(command.end(), launch.engine_words.begin(), launch.engine_words.end());
    const auto rank = attended(launch);
    command.insert(command.end(), rank.begin(), rank.end());
    return std::make_unique<LaunchedGroup>(launch, std::move(command), launch.environment, explain);
  }
};

}  // namespace

std::unique_ptr<Engine> mpirun_engine() {
  return std::make_unique<MpirunEngine>();
}

}  // namespace muster
