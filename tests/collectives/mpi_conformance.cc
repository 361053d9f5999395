/// mpi_conformance flat|machines|auto|mismatch|abort|killed RANKS_PER_MACHINE VICTIM, under mpirun:
/// one rank of the conformance battery. Prints what is wrong; what a group that is over says goes
/// to the end of the file MUSTER_TEST_WORDS.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>
#include <thread>

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
  reduces_in_windows(ranks->world(), ranks->node());
  ranks->node().barrier();
  if (auto* lane = ranks->lane()) {
    float one = 1;
    lane->all_reduce(buffer_of(&one, 1), ReduceOp::sum).wait();
    demand(one == static_cast<float>(lane->size()), "the lane reduces between machines");
  }
  ranks->finish();
}

void say(Ranks& ranks, const std::string& text) {
  std::ofstream(std::getenv("MUSTER_TEST_WORDS"), std::ios::app)
      << fmt::format("rank {}: {}\n", ranks.world().rank(), text);
}

/// What the error of the group says, on every rank that gets to say it.
int say_error(int ranks_per_machine, std::string (*body)(Communicator&)) {
  const auto ranks =
      open_ranks(launch_context(process_environment()), {.ranks_per_machine = ranks_per_machine});
  const auto text = body(ranks->world());
  say(*ranks, text);
  return 1;  // without MPI_Finalize, as a rank that failed
}

/// Ends this process once it is inside its `operation`-th operation.
void die_in_operation(const RankSlot& slot, std::uint64_t operation) {
  for (;;) {
    const auto count = slot.flight_count.load();
    const auto& entry =
        slot.flight.at((std::max<std::uint64_t>(count, 1) - 1) % slot.flight.size());
    if (count >= operation && entry.end_ns.load() == 0) {
      ::raise(SIGKILL);
    }
    std::this_thread::yield();
  }
}

std::string error_of_endless_reductions(Communicator& comm) {
  std::vector<float> values(1000000, 1);
  try {
    for (;;) {
      comm.all_reduce(buffer_of(values.data(), values.size()), ReduceOp::max).wait();
    }
  } catch (const Error& error) {
    return error.what();
  }
}

/// One rank dies in the middle of an operation.
int be_killed(int ranks_per_machine, int victim) {
  const auto ranks =
      open_ranks(launch_context(process_environment()), {.ranks_per_machine = ranks_per_machine});
  if (ranks->world().rank() == victim) {
    std::thread(die_in_operation, std::cref(ranks->slot()), 20).detach();
  }
  const auto text = error_of_endless_reductions(ranks->world());
  say(*ranks, text);
  return 1;
}

int run(std::string_view what, int ranks_per_machine, int victim) {
  if (what == "flat") {
    conform_flat();
  } else if (what == "auto") {
    conform(0);
  } else if (what == "machines") {
    conform(2);
  } else if (what == "mismatch") {
    return say_error(ranks_per_machine, error_of_mismatched_counts);
  } else if (what == "abort") {
    return say_error(ranks_per_machine, error_after_abort);
  } else if (what == "killed") {
    return be_killed(ranks_per_machine, victim);
  } else {
    return 64;
  }
  return 0;
}

}  // namespace
}  // namespace muster::test

int main(int argc, char** argv) {
  try {
    return muster::test::run(argc > 1 ? argv[1] : "auto", argc > 2 ? std::atoi(argv[2]) : 0,
                             argc > 3 ? std::atoi(argv[3]) : -1);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "FAILED %s\n", muster::report(error).c_str());
    return muster::exit_code_of(error);
  }
}
