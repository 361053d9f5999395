/// BayesianSearcher: a Gaussian process over everything known, an output warp, and a criterion
/// maximised by gradients. The first point is the middle (or the priors' centre), then scrambled
/// Sobol points, then the model; beyond `exact_until` observations a trust region with a model of
/// its neighbourhood; with a resource, one model over configurations and ln resource, asked at the
/// most. What a proposal costs beyond its question is one refit now and then: the state is the
/// model's theta and where it was fitted.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "hpo/criterion.h"
#include "hpo/maximiser.h"
#include "hpo/model_inputs.h"
#include "hpo/region.h"
#include "hpo/searcher.h"
#include "hpo/simple_searchers.h"

namespace muster::hpo {

class BayesianSearcher final : public Searcher {
 public:
  BayesianSearcher(const Space& space, const SearcherOptions& options);
  std::optional<Proposal> propose(const Question& question) override;
  void restore(std::string_view state) override;

 private:
  /// What was fitted last. Empty theta: nothing yet.
  struct Fitted {
    std::size_t at = 0;
    Theta theta;
  };
  /// Which observations the model sees.
  struct Rows {
    std::vector<std::size_t> positions;
    bool is_prefix = false;  ///< all of the history, in order: the factor can grow row by row
  };

  bool is_initial(const Question& question) const;
  std::optional<Proposal> initial(const Question& question);
  std::optional<Proposal> from_model(const Question& question);
  Rows all_rows(std::size_t seen) const;
  Rows fidelity_rows(const History& history, std::size_t seen) const;
  Rows region_rows(const History& history, std::size_t seen, const Box& box) const;
  std::vector<double> warped(const History& history, const Rows& rows) const;
  bool is_due(std::size_t seen) const;
  void refit(const Question& question, const Rows& rows, const std::vector<double>& values);
  Theta fit_plain(const Matrix& features, const std::vector<double>& values) const;
  Theta warped_where_better(const Matrix& features, const std::vector<double>& values,
                            const Theta& plain) const;
  void build(const History& history, const Rows& rows);
  void append(const Config& config, double resource);
  Matrix features_of(const History& history, const Rows& rows, std::size_t count) const;
  Criterion criterion(const Question& question, const Rows& rows, const std::vector<double>& values,
                      Random& random);
  double best_value(const History& history, const Rows& rows,
                    const std::vector<double>& values) const;
  std::optional<Box> region_box(const Question& question);
  std::vector<Config> best_of(const History& history, const Rows& rows,
                              const std::vector<double>& values) const;
  const Candidate* choose(const Question& question, const std::vector<Candidate>& candidates);
  std::optional<Proposal> fallback(const Question& question, Proposal proposal);
  std::optional<Proposal> untried(const Question& question, Proposal proposal);
  void remember(const Question& question);
  bool was_tried(const Question& question, const Config& config) const;

  const Space& space_;
  SearcherOptions options_;
  ModelInputs inputs_;
  SobolSearcher sobol_;
  Maximiser maximiser_;
  std::size_t initial_;
  std::optional<std::uint64_t> cardinality_;
  Fitted fitted_;
  std::optional<GaussianProcess> model_;
  std::size_t model_rows_ = 0;  // of the history, while the model holds a prefix of it
  std::size_t model_fitted_at_ = 0;
  std::optional<Region> region_;
  std::unordered_set<std::uint64_t> tried_;
  std::size_t tried_until_ = 0;
};

}  // namespace muster::hpo
