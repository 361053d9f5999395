// Which hosts a job goes on with. SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "launcher/supervise/supervisor.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/log.h"
#include "runtime/base/text.h"

namespace muster {

/// Hosts that earlier starts have left out stay out, unless the job could not run without them.
void Supervisor::recall_left_out() {
  auto& excluded = record_->status.excluded_hosts;
  Roster without = roster_;
  for (const auto& host : excluded) {
    without.leave_out(host);
  }
  if (!without.ranks()) {
    log::warning(fmt::format("{} failed before, but the job needs them: trying again",
                             join(without.left_out(), ", ")));
    excluded.clear();
    posix_file_system().remove(plan_.files.root / "exclude");
    return;
  }
  for (const auto& host : std::vector(excluded)) {
    leave_out(host, "failed before");
  }
  fit_to_hosts();
}

void Supervisor::leave_out(const std::string& host, const std::string& why) {
  auto& excluded = record_->status.excluded_hosts;
  if (std::ranges::find(excluded, host) == excluded.end()) {
    excluded.push_back(host);
    // For the batch script, which tells Slurm when it requeues the job.
    write_file_atomically(plan_.files.root / "exclude", join(excluded, ",") + "\n");
  }
  if (roster_.leave_out(host)) {
    log::warning(fmt::format("host {} {}: leaving it out from now on", host, why));
    plan_.launch.excluded_hosts = roster_.left_out();
  }
}

/// Nodes that Slurm has taken out of the job because they died: not our judgement, so not kept for
/// later starts.
void Supervisor::drop_lost_hosts() {
  const auto here = plan_.hosts_now ? plan_.hosts_now() : std::vector<std::string>{};
  for (const auto& host : plan_.launch.hosts) {
    const bool lost = !here.empty() && std::ranges::find(here, host.name) == here.end();
    if (lost && roster_.leave_out(host.name)) {
      log::warning(fmt::format("host {} is no longer part of the Slurm job", host.name));
      plan_.launch.excluded_hosts = roster_.left_out();
    }
  }
}

/// Fewer ranks where too few places are left and min_ranks allows it. A code where the job cannot
/// go on here.
std::optional<int> Supervisor::fit_to_hosts() {
  const auto fit = roster_.ranks();
  if (fit && *fit < plan_.launch.ranks) {
    log::warning(fmt::format("going on with {} rank{} instead of {} (min_ranks = {})", *fit,
                             *fit == 1 ? "" : "s", plan_.launch.ranks, plan_.min_ranks));
  }
  if (fit) {
    plan_.launch.ranks = record_->status.ranks = *fit;
    return std::nullopt;
  }
  if (record_->status.engine == "slurm") {
    return finish(exit_saved, state::interrupted,
                  fmt::format("without {} there is no place for {} ranks (min_ranks would allow "
                              "fewer): asking Slurm for other nodes",
                              join(roster_.left_out(), ", "), plan_.launch.ranks));
  }
  if (roster_.any_left()) {
    log::warning(fmt::format("{} ranks share the hosts that are left", plan_.launch.ranks));
    return std::nullopt;
  }
  return exit_failed;
}

}  // namespace muster
