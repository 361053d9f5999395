/// LaunchContext: who started this process and which rank it is, decided from the environment
/// before MPI is touched. Under MPI, rank and size are hints until MPI_Init has spoken (`size` 0:
/// unknown). MPI_Init must not be called where uses_mpi() is false.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace muster {

enum class Starter {
  muster,    ///< `muster` on one machine: ranks meet in shared memory
  open_mpi,  ///< mpirun
  pmix,      ///< srun --mpi=pmix
  torchrun,  ///< on one machine: ranks meet in shared memory
  single,    ///< nobody: a group of one
};
std::string_view name_of(Starter starter);

struct LaunchContext {
  Starter starter = Starter::single;
  int rank = 0;
  int size = 1;
  int local_rank = 0;
  int local_size = 1;
  std::string control;  ///< path of the control page, where there is one already (Starter::muster)
  std::string
      meeting;  ///< what local ranks without a page agree on to find each other (Starter::torchrun)
  bool bind = true;  ///< false: ranks never move onto cores of their own
  bool uses_mpi() const { return starter == Starter::open_mpi || starter == Starter::pmix; }
};

using Environment = std::map<std::string, std::string, std::less<>>;
Environment process_environment();

/// Looked at in this order: MUSTER_LAUNCH, OMPI_*, PMIX_*, SLURM_*, a complete torchrun set; else
/// single. Throws Error(bad_input) with the flag to add where the launcher gave the ranks no way to
/// meet.
LaunchContext launch_context(const Environment& environment);

/// The value of MUSTER_LAUNCH for a rank that `muster` starts: "rank=1 size=2 local_rank=1
/// local_size=2 control=/proc/4711/fd/5".
std::string launch_words(const LaunchContext& context);

/// Is the variable one by which a launcher tells a process its place (OMPI_*, PMIX_*, PMI_*,
/// SLURM's of a task, torchrun's, MUSTER_LAUNCH)? A child must not inherit it, unless the engine
/// that starts the child sets it.
bool places_a_rank(std::string_view variable);
/// `environment` without those.
Environment without_places(Environment environment);

}  // namespace muster
