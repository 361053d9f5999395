/// Branches: the parts of a conditional space that a model over everything knows too little of.
/// A branch is the parameters that share a condition. Where it is nested below another one, or has
/// fewer than 2 (d + 1) results of its own d parameters, its values come from a tree-structured
/// Parzen estimator over the results in which it was active (Bergstra et al., 2011), its
/// parameters drawn together:
///   l over the best quarter, g over the rest, each a mixture of the prior and a kernel a result;
///   24 draws from l, and the one with the largest l / g.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <vector>

#include "hpo/history.h"
#include "hpo/space.h"

namespace muster::hpo {

class Branches {
 public:
  explicit Branches(const Space& space);
  bool is_empty() const { return branches_.empty(); }
  /// `config` with the values of such branches drawn anew; itself where that would be forbidden.
  Config redraw(const Config& config, const History& history, std::size_t seen,
                Random& random) const;

 private:
  struct Branch {
    std::vector<std::size_t> coordinates;
    std::size_t parameter;  // one of its own: active where that is
    std::size_t depth;      // 1: its condition names free parameters only
  };
  using Points = std::vector<std::vector<double>>;  // encoded values of a branch, best first

  Points results_in(const Branch& branch, const History& history, std::size_t seen) const;
  std::vector<double> draw(const Branch& branch, const Points& results, Random& random) const;
  std::vector<double> draw_around(const Branch& branch, const std::vector<double>* centre,
                                  double width, Random& random) const;
  double log_density(const Branch& branch, const std::vector<double>& point, const Points& results,
                     std::size_t first, std::size_t last, double width) const;
  double kernel(std::size_t coordinate, double at, double centre, double width) const;

  const Space& space_;
  std::vector<Branch> branches_;  // shallow ones first
};

}  // namespace muster::hpo
