/// Searcher: proposes what to try next from what is known. It knows no budgets, no processes, no
/// clock, and does no I/O. A proposal is a pure function of (seed, question, the state last
/// restored or returned), so replay applies what the journal holds and never proposes again. One
/// caller at a time; it may be another thread than the one that appends to the History.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hpo/history.h"
#include "hpo/space.h"

namespace muster::hpo {

/// What a searcher is asked with: a snapshot, so that reports may go on arriving while it thinks.
struct Question {
  std::uint64_t number = 0;  ///< how many proposals were asked of it before, from 0; never reused
  const History* history = nullptr;  ///< only its first `seen` observations are read
  std::size_t seen = 0;
  std::size_t seen_before = 0;        ///< `seen` of the previous question; 0 for the first
  std::span<const Config> pending{};  ///< handed out (proposed ahead, queued, running, paused below
                                      ///< a rung), no final value yet
};

struct Proposal {
  Config config;
  std::string origin;    ///< how it came about, for the table: "start", "random", "sobol", "grid",
                         ///< "model", "explore", "region"
  std::size_t seen = 0;  ///< the history position that it was computed from
  std::string state;     ///< the searcher's state where this proposal changed it (a refit), else
                         ///< empty. For the journal
  /// Expected improvement over the best as a share of the observed spread, where a model says so:
  /// for `convergence`.
  std::optional<double> expected_gain;
};

class Searcher {
 public:
  virtual ~Searcher() = default;
  /// The next configuration, allowed by the space. Nothing when the space is exhausted (a grid is
  /// done, every value was tried).
  virtual std::optional<Proposal> propose(const Question& question) = 0;
  /// Replay: as if the proposal that returned `state` had just been computed. Throws
  /// Error(bad_input) on text it did not write.
  virtual void restore(std::string_view state) = 0;
};

enum class Acquisition { ucb, logei, automatic };

struct SearcherOptions {
  std::uint64_t seed = 0;
  bool deterministic =
      false;  ///< equal configurations give equal values: no noise term, no duplicates
  double min_resource = 0.0;  ///< the scheduler's rungs lie between these; 0: no resource
  double max_resource = 0.0;
  Acquisition acquisition = Acquisition::ucb;
  double exploration = 1.8;  ///< the coefficient of the deviation in UCB: 1 is greedy, 2.5 curious
  std::size_t initial = 0;   ///< quasi-random points before the model; 0: max(10, min(2 d, 20))
  std::uint32_t sources =
      0;  ///< similar sweeps that may lend rows: Observation::source goes so far
  std::size_t exact_until =
      1000;  ///< observations under the exact model over the whole space; beyond, trust regions
};

/// "random", "sobol", "grid", "bayesian", "plugin:LIB.so"; another name is Error(bad_input) that
/// proposes the nearest. The space must outlive it. A grid over a space with a range that has
/// neither step nor points is Error(bad_input) that names the key.
std::unique_ptr<Searcher> make_searcher(std::string_view name, const Space& space,
                                        const SearcherOptions& options);

}  // namespace muster::hpo
