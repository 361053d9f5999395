/// muster-bench-mpi JSON SECONDS DTYPE BYTES ...: what `muster bench allreduce --backend mpi`
/// starts under mpirun, since muster itself links no MPI. Ranks talk over MPI alone, also on one
/// machine: that is what is to be measured. JSON is 0 or 1.
// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <exception>
#include <string>

#include "collectives/bench/all_reduce_bench.h"
#include "collectives/mpi/mpi_communicator.h"
#include "runtime/base/error.h"

namespace muster {
namespace {

void run(int count, char** words) {
  require(count > 4, "muster-bench-mpi JSON SECONDS DTYPE BYTES ...");
  const bool json = std::string_view(words[1]) == "1";
  AllReducePlan plan{
      .sizes = {}, .dtype = dtype_named(words[3]), .seconds_each = std::stod(words[2])};
  for (int i = 4; i < count; ++i) {
    plan.sizes.push_back(std::stoul(words[i]));
  }
  MpiWorld mpi;
  {
    MPI_Comm all = MPI_COMM_NULL;
    mpi.run([&] { check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &all), "MPI_Comm_dup"); });
    MpiCommunicator comm(mpi, all, {});
    print_all_reduce(comm, nullptr, plan, "mpi", json);
  }
  mpi.finish();
}

}  // namespace
}  // namespace muster

int main(int count, char** words) {
  try {
    muster::run(count, words);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", muster::report(error).c_str());
    return muster::exit_code_of(error);
  }
}
