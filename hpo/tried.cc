// SPDX-License-Identifier: Apache-2.0
#include "hpo/tried.h"

#include <algorithm>
#include <utility>

#include "hpo/simple_searchers.h"

namespace muster::hpo {

void Tried::learn(const Question& question) {
  for (; tried_until_ < question.seen; ++tried_until_) {
    const Observation& row = (*question.history)[tried_until_];
    if (row.source == 0) {
      tried_.insert(space_.hash(row.config));
    } else {
      ++lent_;
    }
  }
}

bool Tried::has(const Question& question, const Config& config) const {
  return tried_.contains(space_.hash(config)) ||
         std::ranges::find(question.pending, config) != question.pending.end();
}

std::optional<Proposal> Tried::another(const Question& question, Proposal proposal) const {
  Random random(mix(seed_, 0xfa11), question.number);
  for (int attempt = 0; attempt < 50; ++attempt) {
    proposal.config = space_.sample(random);
    if (!has(question, proposal.config)) {
      proposal.origin = "random";
      return proposal;
    }
  }
  std::unordered_set<std::uint64_t> distinct = tried_;
  for (const Config& config : question.pending) {
    distinct.insert(space_.hash(config));
  }
  const bool is_exhausted = cardinality_ && distinct.size() >= *cardinality_;
  if (is_exhausted && deterministic_) {
    return std::nullopt;
  }
  if (!is_exhausted && cardinality_ && *cardinality_ <= 1'000'000) {
    return untried(question, std::move(proposal));
  }
  proposal.origin = "repeat";
  return proposal;
}

std::optional<Proposal> Tried::untried(const Question& question, Proposal proposal) const {
  GridSearcher grid(space_);
  for (std::uint64_t number = 0;; ++number) {
    std::optional<Proposal> next = grid.propose({.number = number});
    if (!next) {
      proposal.origin = "repeat";
      return proposal;
    }
    if (!has(question, next->config)) {
      proposal.config = std::move(next->config);
      proposal.origin = "grid";
      return proposal;
    }
  }
}

}  // namespace muster::hpo
