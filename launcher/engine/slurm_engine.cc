// Ranks as one step of a Slurm job, by srun with PMIx, which gives them the whole grace when the
// job is preempted. SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "launcher/engine/choose.h"
#include "launcher/engine/launched_group.h"
#include "launcher/engine/slurm_environment.h"
#include "launcher/engine/tool.h"
#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

bool says(const std::string& text, std::string_view words) {
  return text.find(words) != std::string::npos;
}

std::optional<std::string> explain_srun(const std::vector<std::string>& words) {
  const auto text = join(words, " ");
  if (says(text, "Memory required by task is not available") ||
      says(text, "step creation temporarily disabled") || says(text, "Requested nodes are busy") ||
      says(text, "Immediate execution impossible")) {
    return "srun gets no memory or cores for its step: another step holds them; add --mem=0 or a "
           "--mem that fits to the srun words "
           "([slurm] srun = --mem=4G), or --mem-per-cpu to the job";
  }
  if (says(text, "More processors requested than permitted") ||
      says(text, "Requested node configuration is not available")) {
    return "this allocation is too small for the ranks: add --ntasks=RANKS (or --nodes and "
           "--ntasks-per-node) to the job";
  }
  if (says(text, "mpi/pmix") || says(text, "plugin type") || says(text, "MPI_Init")) {
    return "this Slurm cannot start MPI ranks by PMIx: install its PMIx plugin (srun --mpi=list "
           "shows it), or use engine = mpirun";
  }
  return std::nullopt;
}

class SlurmEngine final : public Engine {
 public:
  std::string_view name() const override { return "slurm"; }

  std::string plan(const JobLaunch& launch) const override {
    const auto job = slurm_job(launch.environment).value_or(SlurmJob{});
    const auto ranks = static_cast<std::size_t>(launch.ranks);
    std::size_t nodes = 0;
    std::size_t cores = 0;
    for (std::size_t i = 0; i < job.nodes.size(); ++i) {
      if (std::ranges::find(launch.excluded_hosts, job.nodes[i]) == launch.excluded_hosts.end()) {
        ++nodes;
        cores += i < job.cpus_per_node.size() ? static_cast<std::size_t>(job.cpus_per_node[i]) : 0;
      }
    }
    return fmt::format("{} by srun on {} of Slurm job {}{}{}", counted(ranks, "rank"),
                       counted(nodes, "node"), job.id,
                       cores > 0 ? fmt::format(" with {}", counted(cores, "core")) : "",
                       cores > 0 && cores < ranks
                           ? fmt::format("; OVERSUBSCRIBED: {} ranks on {} cores", ranks, cores)
                           : "");
  }

  std::unique_ptr<RankGroup> start(const JobLaunch& launch) override {
    std::vector<std::string> command{"srun",
                                     "--mpi=pmix",
                                     "--ntasks=" + std::to_string(launch.ranks),
                                     "--cpu-bind=none",
                                     "--overlap",
                                     "--immediate=60",  // rather than to wait for ever in silence
                                     "--export=ALL",
                                     "--kill-on-bad-exit=0"};
    if (!launch.excluded_hosts.empty()) {
      command.push_back("--exclude=" + join(launch.excluded_hosts, ","));
    }
    command.insert(command.end(), launch.engine_words.begin(), launch.engine_words.end());
    const auto rank = attended(launch);
    command.insert(command.end(), rank.begin(), rank.end());
    JobLaunch asked = launch;
    asked.ask_launcher_first = true;
    return std::make_unique<LaunchedGroup>(asked, std::move(command), launch.environment,
                                           explain_srun);
  }
};

}  // namespace

std::unique_ptr<Engine> slurm_engine() {
  return std::make_unique<SlurmEngine>();
}

}  // namespace muster
