/// allreduce_local RANKS SECONDS [BYTES ...]: all_reduce between processes of this machine, a JSON
/// line a size.
// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <exception>
#include <string>

#include "collectives/bench/all_reduce_bench.h"
#include "collectives/bench/local_ranks.h"
#include "collectives/node/node_communicator.h"
#include "runtime/base/error.h"

int main(int argc, char** argv) {
  try {
    muster::AllReducePlan plan;
    const int ranks = argc > 1 ? std::stoi(argv[1]) : 2;
    plan.seconds_each = argc > 2 ? std::stod(argv[2]) : 0.5;
    if (argc > 3) {
      plan.sizes.clear();
    }
    for (int i = 3; i < argc; ++i) {
      plan.sizes.push_back(std::stoul(argv[i]));
    }
    muster::run_as_processes(ranks, [&](muster::LocalGroup& group) {
      muster::NodeCommunicator comm(group);
      muster::bench_all_reduce(comm, &group, plan, [](const muster::AllReduceRow& row) {
        std::puts(muster::json_line(row, "shm").c_str());
      });
    });
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", muster::report(error).c_str());
    return 1;
  }
}
