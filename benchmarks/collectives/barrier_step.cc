/// barrier_step SECONDS STEP_US: a synthetic training step of 2 ranks (arithmetic of about STEP_US,
/// then two barriers) against the same arithmetic of two processes that never meet. Alternating
/// blocks of 0.4 s; a JSON line. Run it alone, and beside a busy loop.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "collectives/bench/local_ranks.h"
#include "collectives/node/node_communicator.h"
#include "runtime/base/error.h"

namespace muster {
namespace {

using SteadyClock = std::chrono::steady_clock;

double arithmetic(std::vector<float>& values, int rounds) {
  for (int round = 0; round < rounds; ++round) {
    for (auto& value : values) {
      value = value * 0.999F + 0.001F;
    }
  }
  return static_cast<double>(values[0]);
}

int rounds_for(double us) {
  std::vector<float> values(4096, 1.0F);
  arithmetic(values, 2000);
  const auto start = SteadyClock::now();
  volatile double sink = arithmetic(values, 2000);
  (void)sink;
  const double each =
      std::chrono::duration<double, std::micro>(SteadyClock::now() - start).count() / 2000;
  return std::max(1, static_cast<int>(us / each));
}

/// Mean microseconds a step of the slower rank in a block of 0.4 s: all ranks make the same number
/// of steps.
double block(LocalGroup& group, NodeCommunicator& comm, int rounds, double step_us, bool together) {
  std::vector<float> values(4096, 1.0F);
  const int steps = std::max(1, static_cast<int>(400000 / step_us));
  comm.barrier();
  const auto start = SteadyClock::now();
  for (int step = 0; step < steps; ++step) {
    volatile double sink = arithmetic(values, rounds);
    (void)sink;
    if (together) {
      group.barrier();
      group.barrier();
    }
  }
  double us = std::chrono::duration<double, std::micro>(SteadyClock::now() - start).count() / steps;
  comm.all_reduce(buffer_of(&us, 1), ReduceOp::max).wait();
  return us;
}

double median(std::vector<double> times) {
  std::ranges::sort(times);
  return times[times.size() / 2];
}

void measure(LocalGroup& group, double seconds, double step_us) {
  NodeCommunicator comm(group);
  double rounds = rounds_for(step_us);
  comm.broadcast(buffer_of(&rounds, 1), 0).wait();
  std::vector<double> alone;
  std::vector<double> together;
  for (double spent = 0; spent < seconds; spent += 0.8) {
    alone.push_back(block(group, comm, static_cast<int>(rounds), step_us, false));
    together.push_back(block(group, comm, static_cast<int>(rounds), step_us, true));
  }
  if (group.rank() == 0) {
    std::printf("{\"alone_us\":%.1f,\"together_us\":%.1f,\"efficiency\":%.3f,\"blocks\":%zu}\n",
                median(alone), median(together), median(alone) / median(together), alone.size());
  }
}

}  // namespace
}  // namespace muster

int main(int argc, char** argv) {
  try {
    const double seconds = argc > 1 ? std::stod(argv[1]) : 10;
    const double step_us = argc > 2 ? std::stod(argv[2]) : 450;
    muster::run_as_processes(
        2, [&](muster::LocalGroup& group) { muster::measure(group, seconds, step_us); });
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", muster::report(error).c_str());
    return 1;
  }
}
