/// Random, Sobol and Grid: searchers that look at nothing but the number of the question. They have
/// no state to restore.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "hpo/searcher.h"
#include "hpo/sobol.h"

namespace muster::hpo {

/// Proposal i is a draw from the priors with the stream (seed, i), whatever was asked before.
class RandomSearcher final : public Searcher {
 public:
  RandomSearcher(const Space& space, std::uint64_t seed) : space_(space), seed_(seed) {}
  std::optional<Proposal> propose(const Question& question) override;
  void restore(std::string_view state) override;

 private:
  const Space& space_;
  std::uint64_t seed_;
};

/// Proposal i is point i of the scrambled sequence, bent by the priors; forbidden points are
/// replaced from far along the sequence.
class SobolSearcher final : public Searcher {
 public:
  SobolSearcher(const Space& space, std::uint64_t seed)
      : space_(space), seed_(seed), points_(space.dimensions(), seed) {}
  std::optional<Proposal> propose(const Question& question) override;
  void restore(std::string_view state) override;
  Config point(std::uint64_t number) const;

 private:
  const Space& space_;
  std::uint64_t seed_;
  Sobol points_;
};

/// Every combination once, the last key fastest; combinations that differ in inactive values only
/// count once.
class GridSearcher final : public Searcher {
 public:
  explicit GridSearcher(const Space& space);
  std::optional<Proposal> propose(const Question& question) override;
  void restore(std::string_view state) override;

 private:
  bool is_wanted(std::uint64_t place, Config& config) const;

  const Space& space_;
  std::vector<std::uint64_t> counts_;  // values of each searched parameter
  std::uint64_t product_ = 1;
  std::vector<std::uint64_t> places_;  // of the proposals found so far, in the full product
  std::uint64_t next_ = 0;
};

}  // namespace muster::hpo
