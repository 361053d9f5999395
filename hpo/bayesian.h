/// BayesianSearcher: a Gaussian process over everything known, an output warp, and a criterion
/// maximised by gradients. The first point is the middle (or the priors' centre), then scrambled
/// Sobol points, then the model, every second time in a box around the best result; beyond
/// `exact_until` observations a trust region with a model of its neighbourhood; with a resource,
/// one model over configurations and ln resource, asked at the most. What a proposal costs beyond
/// its question is one refit now and then: the state is the model's theta and where it was fitted.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "hpo/branches.h"
#include "hpo/criterion.h"
#include "hpo/maximiser.h"
#include "hpo/model_inputs.h"
#include "hpo/region.h"
#include "hpo/rows.h"
#include "hpo/searcher.h"
#include "hpo/simple_searchers.h"
#include "hpo/theta_choice.h"
#include "hpo/tried.h"

namespace muster::hpo {

class BayesianSearcher final : public Searcher {
 public:
  BayesianSearcher(const Space& space, const SearcherOptions& options);
  std::optional<Proposal> propose(const Question& question) override;
  void restore(std::string_view state) override;

 private:
  bool is_initial(const Question& question) const;
  std::optional<Proposal> initial(const Question& question);
  std::optional<Proposal> from_model(const Question& question);
  bool is_due(std::size_t seen) const;
  void refit(const Question& question, const Rows& rows, const std::vector<double>& values);
  void build(const History& history, const Rows& rows);
  void append(const Config& config, double resource, std::uint32_t source = 0);
  Criterion criterion(const Question& question, const Rows& rows, const std::vector<double>& values,
                      Random& random);
  double best_value(const History& history, const Rows& rows,
                    const std::vector<double>& values) const;
  std::optional<Box> region_box(const Question& question);
  std::optional<Box> near_box(const Question& question);
  Box box_of(const Region& region, const History& history) const;
  const Candidate* choose(const Question& question, const std::vector<Candidate>& candidates);

  const Space& space_;
  SearcherOptions options_;
  ModelInputs inputs_;
  SobolSearcher sobol_;
  Maximiser maximiser_;
  Branches branches_;
  std::size_t initial_;
  Tried tried_;
  Fitted fitted_;
  std::optional<GaussianProcess> model_;
  std::size_t model_rows_ = 0;  // of the history, while the model holds a prefix of it
  std::size_t model_fitted_at_ = 0;
  std::optional<Region> region_;  // beyond exact_until
  std::optional<Region> near_;    // below
};

}  // namespace muster::hpo
