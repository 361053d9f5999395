/// muster-bench-mpi mpi|two-level RANKS_PER_MACHINE table|json PLAN...: a rank of what
/// `muster bench allreduce` starts under mpirun, since muster itself links no MPI. `mpi`: MPI
/// alone, also on one machine, since that is what is to be measured. `two-level`: shared memory
/// inside machines and MPI between them; RANKS_PER_MACHINE is as many as share one, or to pretend
/// that they do, and 0 where they lie as they lie.
// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "collectives/bench/all_reduce_report.h"
#include "collectives/mpi/mpi_communicator.h"
#include "collectives/mpi/open_ranks.h"
#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

void measure_mpi(const AllReducePlan& plan, bool json) {
  MpiWorld mpi;
  {
    MPI_Comm all = MPI_COMM_NULL;
    mpi.run([&] { check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &all), "MPI_Comm_dup"); });
    MpiCommunicator comm(mpi, all, {});
    print_all_reduce({.measured = comm, .control = comm, .memory = plain_memory()}, plan, "mpi",
                     json);
  }
  mpi.finish();
}

void measure_two_levels(int ranks_per_machine, const AllReducePlan& plan, bool json) {
  const auto ranks =
      open_ranks(launch_context(process_environment()), {.ranks_per_machine = ranks_per_machine});
  if (ranks->lane() == nullptr) {
    throw Error(Fault::bad_input,
                "two levels need several machines with equally many ranks each: spread the ranks "
                "with --hosts a,b, or pretend with --machines 2");
  }
  print_all_reduce({.measured = ranks->world(),
                    .control = ranks->world(),
                    .memory = window_memory(ranks->node())},
                   plan, "two-level", json);
  ranks->finish();
}

void run(const std::vector<std::string>& words) {
  const auto per_machine = words.size() > 3 ? parse_int(words[1]) : std::nullopt;
  if (!per_machine) {
    throw Error(Fault::bad_input,
                "muster-bench-mpi is started by `muster bench allreduce --backend mpi`");
  }
  const auto plan = plan_of(std::span(words).subspan(3));
  if (words[0] == "mpi") {
    measure_mpi(plan, words[2] == "json");
  } else {
    measure_two_levels(static_cast<int>(*per_machine), plan, words[2] == "json");
  }
}

}  // namespace
}  // namespace muster

int main(int count, char** words) {
  try {
    muster::run({words + 1, words + count});
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", muster::report(error).c_str());
    return muster::exit_code_of(error);
  }
}
