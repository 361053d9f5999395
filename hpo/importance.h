/// What a report shows of the search itself: which parameters mattered, and every trial as a line
/// across the axes of the space. Pure functions of a space and a history.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hpo/history.h"
#include "hpo/space.h"

namespace muster::hpo {

struct Importance {
  std::string key;
  double share = 0.0;  ///< of the sum over all keys; they add up to 1 where anything mattered
};

/// Total-effect (ANOVA) indices of a Gaussian process fitted to the results: the mean squared
/// change of its mean when one parameter alone is drawn again (Jansen's estimator, 1,024 Sobol
/// points), so interactions count for each parameter in them. Largest first. Empty with fewer than
/// 4 successful results. At most the 500 newest results, at their largest resource each.
std::vector<Importance> importance(const Space& space, const History& history, std::size_t seen,
                                   std::uint64_t seed = 0);
/// "total-effect ANOVA on the Gaussian process": how the report names it.
std::string_view importance_method();

struct ParallelAxis {
  std::string key;
  struct Tick {
    double position = 0.0;
    std::string label;
  };
  std::vector<Tick> ticks;  ///< every value of a list; five along a number's scale
};
struct ParallelLine {
  std::uint64_t trial = 0;
  std::vector<double> positions;  ///< one an axis, in [0, 1]; NaN where the parameter was inactive
  double value = 0.0;             ///< as in the history: smaller is better
};
struct ParallelCoordinates {
  std::vector<ParallelAxis> axes;  ///< searched parameters, in the order of the space
  std::vector<ParallelLine>
      lines;  ///< successful trials at their largest resource, in the order of the history
};
ParallelCoordinates parallel_coordinates(const Space& space, const History& history,
                                         std::size_t seen);

}  // namespace muster::hpo
