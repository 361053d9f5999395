/// mpi_conformance flat|machines|auto|mismatch|abort|killed, under mpirun: one rank of the
/// conformance battery. Prints what is wrong.
// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <string_view>

#include "collectives/mpi/mpi_communicator.h"
#include "collectives/mpi/open_ranks.h"
#include "runtime/base/error.h"
#include "tests/support/communicator_conformance.h"
#include "tests/support/ranks.h"

namespace muster::test {
namespace {

void run_battery(Communicator& comm) {
  for (const auto& body : conformance_bodies()) {
    within(body.name, [&] { body.run(comm); });
    comm.barrier();
  }
}

/// Every rank an own machine: MPI alone, without shared memory.
void conform_flat() {
  MpiWorld mpi;
  {
    MPI_Comm all = MPI_COMM_NULL;
    mpi.run([&] { MPI_Comm_dup(MPI_COMM_WORLD, &all); });
    MpiCommunicator comm(mpi, all, {});
    run_battery(comm);
  }
  mpi.finish();
}

void conform(int ranks_per_machine) {
  const auto ranks =
      open_ranks(launch_context(process_environment()), {.ranks_per_machine = ranks_per_machine});
  const int local = ranks->world().local_size();
  demand(ranks_per_machine == 0 ? local == ranks->world().size() : local <= ranks_per_machine,
         "local ranks are those of the machine");
  run_battery(ranks->world());
  ranks->node().barrier();
  if (auto* lane = ranks->lane()) {
    float one = 1;
    lane->all_reduce(buffer_of(&one, 1), ReduceOp::sum).wait();
    demand(one == static_cast<float>(lane->size()), "the lane reduces between machines");
  }
  ranks->finish();
}

void expect_error(std::string (*body)(Communicator&), std::string_view words) {
  const auto ranks = open_ranks(launch_context(process_environment()), {.ranks_per_machine = 1});
  const auto text = body(ranks->world());
  demand(text.find(words) != std::string::npos,
         "expected '" + std::string(words) + "' and got '" + text + "'");
  std::printf("as expected: %s\n", text.c_str());
  std::fflush(stdout);
  ::usleep(
      200000);  // mpirun ends all once one has left without MPI_Finalize: let each say its word
}

/// The last rank dies in an operation; whoever is left says so before mpirun ends it.
void be_killed() {
  const auto ranks = open_ranks(launch_context(process_environment()));
  auto& comm = ranks->world();
  std::vector<float> values(1000000, 1);
  for (int round = 0;; ++round) {
    if (round == 20 && comm.rank() == comm.size() - 1) {
      ::raise(SIGKILL);
    }
    comm.all_reduce(buffer_of(values.data(), values.size()), ReduceOp::max).wait();
  }
}

int run(std::string_view what) {
  if (what == "flat") {
    conform_flat();
  } else if (what == "auto") {
    conform(0);
  } else if (what == "machines") {
    conform(2);
  } else if (what == "mismatch") {
    expect_error(error_of_mismatched_counts,
                 "rank 1 calls all_reduce (sum) of 2001 float32 where rank 0");
  } else if (what == "abort") {
    expect_error(error_after_abort, "aborted: out of milk");
  } else if (what == "killed") {
    be_killed();
  } else {
    return 64;
  }
  return 0;
}

}  // namespace
}  // namespace muster::test

int main(int argc, char** argv) {
  try {
    return muster::test::run(argc > 1 ? argv[1] : "auto");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "FAILED %s\n", muster::report(error).c_str());
    return 1;
  }
}
