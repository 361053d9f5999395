// SPDX-License-Identifier: Apache-2.0
#include "launcher/engine/choose.h"

#include <fmt/format.h>

#include <algorithm>

#include "launcher/engine/slurm_environment.h"
#include "launcher/engine/tool.h"
#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

[[noreturn]] void refuse(const std::string& sentence) {
  throw Error(Fault::bad_input, sentence);
}

void check_slurm(int ranks, const Surroundings& world) {
  const auto job = slurm_job(world.environment);
  if (!job) {
    refuse("engine = slurm, but this is no Slurm job: use muster submit, or salloc first");
  }
  if (!world.has_srun) {
    refuse(
        "engine = slurm, but there is no srun in PATH (in a container, mount Slurm's programs): or "
        "use engine = local");
  }
  if (!world.srun_has_pmix) {
    refuse(
        "this Slurm has no PMIx plugin (srun --mpi=list shows none): ask for one, or use engine = "
        "mpirun");
  }
  if (job->tasks < ranks) {
    refuse(
        fmt::format("ranks = {}, but Slurm job {} has {} task{}: add --ntasks={} to sbatch or "
                    "salloc (or --nodes and --ntasks-per-node)",
                    ranks, job->id, job->tasks, job->tasks == 1 ? "" : "s", ranks));
  }
}

Host parse_host(const std::string& text, const std::string& whole) {
  const auto parts = split(text, ':');
  const auto slots = parts.size() == 2 ? parse_int(parts[1]) : std::optional<std::int64_t>(0);
  const std::string name(trim(parts[0]));
  if (parts.size() > 2 || !slots || *slots < 0 || name.empty() ||
      (parts.size() == 2 && *slots == 0)) {
    refuse(
        fmt::format("hosts = {}: '{}' is no host: write NAME or NAME:SLOTS, separated by commas, "
                    "or the path of a host file",
                    whole, text));
  }
  return {name, static_cast<int>(*slots)};
}

std::vector<Host> parse_host_file(const std::string& path) {
  std::vector<Host> hosts;
  for (const auto& line : split(read_file(path), '\n')) {
    const auto parts = words(line.substr(0, line.find('#')));
    if (parts.empty()) {
      continue;
    }
    Host host = parse_host(parts[0], path);
    for (const auto& part : parts) {
      if (part.starts_with("slots=")) {
        host.slots = static_cast<int>(parse_int(part.substr(6)).value_or(0));
      }
    }
    hosts.push_back(host);
  }
  if (hosts.empty()) {
    refuse(fmt::format("hosts = {}: the file names no host", path));
  }
  return hosts;
}

}  // namespace

Surroundings surroundings() {
  Surroundings world;
  world.environment = process_environment();
  world.has_mpirun = !find_program("mpirun").empty();
  world.has_srun = !find_program("srun").empty();
  if (world.has_srun && world.environment.contains("SLURM_JOB_ID")) {
    world.srun_has_pmix =
        run_tool({"srun", "--mpi=list"}, std::chrono::seconds(10)).output.find("pmix") !=
        std::string::npos;
  }
  return world;
}

EngineKind choose_engine(const std::string& asked, const std::vector<Host>& hosts, int ranks,
                         const Surroundings& world) {
  const auto job = slurm_job(world.environment);
  const bool big_allocation = job && (job->nodes.size() > 1 || job->tasks > 1);
  if (asked == "local" || (asked == "auto" && hosts.empty() && !big_allocation)) {
    if (!hosts.empty()) {
      refuse(
          "engine = local starts ranks on this machine only: leave out hosts, or use engine = "
          "mpirun");
    }
    return EngineKind::local;
  }
  if (asked == "slurm" || (asked == "auto" && hosts.empty())) {
    check_slurm(ranks, world);
    return EngineKind::slurm;
  }
  if (!world.has_mpirun) {
    refuse("hosts need mpirun, and there is none in PATH: install Open MPI (Debian: openmpi-bin)");
  }
  return EngineKind::mpirun;
}

std::unique_ptr<Engine> make_engine(EngineKind kind) {
  switch (kind) {
    case EngineKind::mpirun:
      return mpirun_engine();
    case EngineKind::slurm:
      return slurm_engine();
    case EngineKind::local:
      break;
  }
  return local_engine();
}

std::vector<Host> parse_hosts(const std::string& text) {
  if (trim(text).empty()) {
    return {};
  }
  if (posix_file_system().exists(text)) {
    return parse_host_file(text);
  }
  if (text.find('/') != std::string::npos) {
    refuse(fmt::format("hosts = {}: there is no such file", text));
  }
  std::vector<Host> hosts;
  for (const auto& part : split(text, ',')) {
    hosts.push_back(parse_host(part, text));
  }
  return hosts;
}

}  // namespace muster
