// SPDX-License-Identifier: Apache-2.0
#include "hpo/searcher.h"

#include "hpo/bayesian.h"
#include "hpo/plugin.h"
#include "hpo/simple_searchers.h"
#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster::hpo {

std::unique_ptr<Searcher> make_searcher(std::string_view name, const Space& space,
                                        const SearcherOptions& options) {
  if (name == "bayesian") {
    return std::make_unique<BayesianSearcher>(space, options);
  }
  if (name == "random") {
    return std::make_unique<RandomSearcher>(space, options.seed);
  }
  if (name == "sobol") {
    return std::make_unique<SobolSearcher>(space, options.seed);
  }
  if (name == "grid") {
    return std::make_unique<GridSearcher>(space);
  }
  if (name.starts_with("plugin:")) {
    return open_searcher(std::string(name.substr(7)), space, options);
  }
  static const std::vector<std::string> known{"bayesian", "random", "sobol", "grid"};
  const std::optional<std::string> near = nearest(name, known);
  throw Error(Fault::bad_input, "tune.searcher is one of bayesian, random, sobol and grid, not '" +
                                    std::string(name) + "'" +
                                    (near ? "; did you mean '" + *near + "'?" : ""));
}

}  // namespace muster::hpo
