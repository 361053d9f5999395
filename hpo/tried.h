/// Tried: which configurations there were, and what to try where everything that a model likes was
/// tried before. Lent rows do not count as tried.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <unordered_set>

#include "hpo/searcher.h"

namespace muster::hpo {

class Tried {
 public:
  Tried(const Space& space, const SearcherOptions& options)
      : space_(space),
        seed_(options.seed),
        deterministic_(options.deterministic),
        cardinality_(space.cardinality()) {}
  void learn(const Question& question);  ///< what the question sees, from where the last one ended
  bool has(const Question& question, const Config& config) const;  ///< or it is pending
  std::size_t lent() const { return lent_; }  ///< rows of similar sweeps, among what was learned
  /// `proposal` with another configuration: a random one, the first of the grid that is left where
  /// the space is nearly exhausted, the same again where it is exhausted; nothing where repeating
  /// is useless.
  std::optional<Proposal> another(const Question& question, Proposal proposal) const;

 private:
  std::optional<Proposal> untried(const Question& question, Proposal proposal) const;

  const Space& space_;
  std::uint64_t seed_;
  bool deterministic_;
  std::optional<std::uint64_t> cardinality_;
  std::unordered_set<std::uint64_t> tried_;
  std::size_t tried_until_ = 0;
  std::size_t lent_ = 0;
};

}  // namespace muster::hpo
