/// Problems: the functions that tuners are compared on. A problem is a name, a search space in the
/// words of [search] and a value to be minimised; the benchmarks know nothing else of it, so a new
/// one is one more entry in a list.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "hpo/space.h"

namespace muster::benchmarks {

struct Outcome {
  double value = 0.0;
  double seconds = 1.0;  ///< what training that far would take
};

struct Problem {
  std::string name;
  std::string suite;                     ///< "synthetic" or "lcbench"
  std::vector<hpo::SpaceLine> search{};  ///< numbers only
  int max_resource = 0;                  ///< 0: no fidelity
  /// Values in the order of `search`; `resource` from 1 to max_resource. Thread-safe.
  std::function<Outcome(std::span<const double> values, int resource)> evaluate{};
};

/// The twelve synthetic functions: Branin-2, Hartmann-6, shifted Ackley-5 and -10, Rosenbrock-4 and
/// -8, Levy-6, Rastrigin-4, a rotated ellipsoid-6, Styblinski-6, a sharp ridge-5, Gallagher-5.
/// Shifts, rotations and peaks are fixed by constants in the source.
std::vector<Problem> synthetic_problems();

/// Ten others of the same families, in other dimensions and with other constants: what settings are
/// chosen on, with those of terrain.cc, so that the twelve above and the tasks they are judged with
/// stay unseen.
std::vector<Problem> development_problems();

/// Those of a shared object that says MUSTER_PROBLEMS(list); throws Error where it is none.
std::vector<Problem> plugin_problems(const std::string& file);

/// The tasks of the LCBench surrogate that its HDF5 file names; throws Error where the file is not
/// that. Value: validation error, 0 to 1.
std::vector<Problem> lcbench_problems(const std::string& path);

/// The largest relative difference between the surrogate and the answers that its file carries,
/// time left out.
double lcbench_worst_difference(const std::string& path);

}  // namespace muster::benchmarks

/// In a plug-in: `list` is a function that returns its problems.
#define MUSTER_PROBLEMS(list)                                                                   \
  extern "C" void muster_benchmark_problems(std::vector<::muster::benchmarks::Problem>& into) { \
    into = list();                                                                              \
  }
