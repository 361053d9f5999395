/// Maximiser: finds the configuration that a criterion values most. Raw points, then gradients from
/// several starts in lockstep over the coordinates that move smoothly, then passes over the
/// discrete ones; the model is always asked at values that can really be had.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "hpo/criterion.h"
#include "hpo/minimise.h"
#include "hpo/model_inputs.h"
#include "hpo/sobol.h"
#include "hpo/space.h"

namespace muster::hpo {

struct Candidate {
  std::vector<double> latent;  ///< a coordinate each, also where inactive, so that switching a
                               ///< parent on finds a child
  Config config;
  double value = 0.0;  ///< of the criterion: smaller is better
  double mean = 0.0, deviation = 0.0;
};

class Maximiser {
 public:
  Maximiser(const Space& space, const ModelInputs& inputs, std::uint64_t seed);

  /// Raw points for a question: two thirds Sobol within the box, one third around the best. Only
  /// allowed ones.
  std::vector<Candidate> raw(std::uint64_t number, const Box& box, const std::vector<Config>& best);
  /// Fills value, mean and deviation at the configurations themselves.
  void judge(const GaussianProcess& model, const Criterion& criterion,
             std::span<Candidate> candidates);
  /// From judged raw points to refined ones, best first. `incumbent` is one of the starts.
  /// `prior_weight` is that of ln prior.
  std::vector<Candidate> refine(const GaussianProcess& model, const Criterion& criterion,
                                std::vector<Candidate> raw, const Config& incumbent, const Box& box,
                                double prior_weight, Random& random);
  Box whole() const;

 private:
  Candidate around(const Config& centre, const Box& box, Random& random) const;
  Candidate at(std::vector<double> latent) const;
  void climb(const GaussianProcess& model, const Criterion& criterion,
             std::vector<Candidate>& starts, const Box& box, int evaluations);
  bool pass(const GaussianProcess& model, const Criterion& criterion, Candidate& candidate,
            const Box& box);
  double prior_slope(std::size_t coordinate, double latent) const;

  const Space& space_;
  const ModelInputs& inputs_;
  Sobol points_;
  double prior_weight_ = 0.0;
  std::vector<std::size_t> smooth_;    // coordinates that gradients move
  std::vector<std::size_t> discrete_;  // coordinates that passes move
  GaussianProcess::Answer answer_;
  Matrix features_, by_whitened_, gradients_;
};

}  // namespace muster::hpo
