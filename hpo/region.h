/// Region: the trust region of TuRBO-1 (Eriksson et al., 2019): a box around the best point whose
/// side doubles after 3 successes, halves after so many failures, and starts afresh when it falls
/// below 2^-7. A success betters the best by 0.001 |best|. It is a fold over the history from a
/// given position, so it has no state to keep: replay gives the same region.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <vector>

#include "hpo/history.h"
#include "hpo/minimise.h"

namespace muster::hpo {

class Region {
 public:
  /// `begin`: observations before it are the past, the centre is the best of them. `failures`: in a
  /// row that halve the side. `initial`: quasi-random points that a fresh region gathers elsewhere;
  /// 0: it starts afresh around the same centre.
  Region(const History& history, std::size_t begin, std::size_t failures, std::size_t initial)
      : history_(history), at_(begin), failures_to_shrink_(failures), initial_(initial) {
    take_past(begin);
  }
  /// Looks at the observations up to `seen`.
  void advance(std::size_t seen);

  double side() const { return side_; }
  std::size_t restarts() const { return restarts_; }
  /// Still collecting the quasi-random points of a fresh region: there is no box yet.
  bool is_gathering() const { return gathered_ < initial_ && restarts_ > 0; }
  std::size_t begin() const {
    return begin_;
  }                                           ///< the first observation that counts for this region
  std::size_t best() const { return best_; }  ///< position of its centre; needs one success or more
  bool has_best() const { return has_best_; }
  /// The box around `centre`, sides scaled by lengths that are normalised to a product of 1, cut to
  /// the unit cube.
  Box box(const std::vector<double>& centre, std::vector<double> lengths) const;

 private:
  void take_past(std::size_t end);
  void take(std::size_t position);
  void restart(std::size_t position);

  const History& history_;
  std::size_t at_;
  std::size_t failures_to_shrink_;
  std::size_t initial_;
  double side_ = 0.8;
  std::size_t successes_ = 0, failures_ = 0, restarts_ = 0, gathered_ = 0;
  std::size_t begin_ = 0, best_ = 0;
  bool has_best_ = false;
};

}  // namespace muster::hpo
