// SPDX-License-Identifier: Apache-2.0
#include "hpo/maximiser.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace muster::hpo {
namespace {

constexpr std::size_t sobol_points = 342;
constexpr std::size_t near_points = 170;
constexpr std::size_t greedy_starts = 4;
constexpr std::size_t softmax_starts = 3;
constexpr std::size_t refined_by_passes = 2;
constexpr std::uint64_t listed = 16;  // up to so many values, a pass tries all
constexpr std::uint64_t smooth_from =
    33;  // a number with so many values moves by gradients, and is rounded after
constexpr std::size_t batch = 128;

}  // namespace

Maximiser::Maximiser(const Space& space, const ModelInputs& inputs, std::uint64_t seed)
    : space_(space), inputs_(inputs), points_(space.dimensions(), mix(seed, 0xacc)) {
  std::vector<bool> decides(space.size(), false);
  for (std::size_t i = 0; i < space.size(); ++i) {
    for (const Test& test : space[i].condition) {
      decides[test.parameter] = true;
    }
  }
  for (std::size_t k = 0; k < space.dimensions(); ++k) {
    const std::size_t i = space.searched()[k];
    const bool is_number = space[i].kind == Kind::number;
    const bool has_few = space[i].count() && *space[i].count() < smooth_from;
    if (is_number && !has_few && !decides[i]) {
      smooth_.push_back(k);
    }
    if (space[i].count() || decides[i]) {
      discrete_.push_back(k);
    }
  }
}

Box Maximiser::whole() const {
  return {std::vector<double>(space_.dimensions(), 0.0),
          std::vector<double>(space_.dimensions(), 1.0)};
}

Candidate Maximiser::at(std::vector<double> latent) const {
  Config config = space_.decode(latent);
  return {std::move(latent), std::move(config), 0.0, 0.0, 0.0};
}

Candidate Maximiser::around(const Config& centre, const Box& box, Random& random) const {
  const auto d = static_cast<double>(space_.dimensions());
  const double keep = std::max(0.5 * std::min(20.0 / d, 1.0), 1.0 / d);
  const double scale = 0.5 * std::pow(10.0, -2.5 * random.uniform());
  std::vector<double> latent = space_.encode(centre);
  for (std::size_t k = 0; k < latent.size(); ++k) {
    const double uniform = random.uniform();
    if (std::isnan(latent[k])) {
      latent[k] = box.low[k] + uniform * (box.high[k] - box.low[k]);
    } else if (random.uniform() < keep) {
      const bool is_list = space_[space_.searched()[k]].kind == Kind::choice;
      latent[k] = is_list ? uniform : latent[k] + scale * random.normal();
    }
    latent[k] = std::clamp(latent[k], box.low[k], box.high[k]);
  }
  return at(std::move(latent));
}

std::vector<Candidate> Maximiser::raw(std::uint64_t number, const Box& box,
                                      const std::vector<Config>& best) {
  std::vector<Candidate> candidates;
  candidates.reserve(sobol_points + near_points);
  std::vector<double> point(space_.dimensions());
  const auto keep = [&](Candidate&& candidate) {
    if (space_.allows(candidate.config)) {
      candidates.push_back(std::move(candidate));
    }
  };
  for (std::uint64_t i = 0; i < sobol_points; ++i) {
    points_.at((number * sobol_points + i) & 0xffffffffU, point);
    for (std::size_t k = 0; k < point.size(); ++k) {
      point[k] = box.low[k] + point[k] * (box.high[k] - box.low[k]);
    }
    keep(at(point));
  }
  Random random(mix(0x4e4541, number), points_.dimensions());
  for (std::size_t i = 0; i < near_points && !best.empty(); ++i) {
    keep(around(best[i % best.size()], box, random));
  }
  return candidates;
}

void Maximiser::judge(const GaussianProcess& model, const Criterion& criterion,
                      std::span<Candidate> candidates) {
  for (std::size_t first = 0; first < candidates.size(); first += batch) {
    const std::size_t count = std::min(batch, candidates.size() - first);
    features_.resize(count, inputs_.size());
    for (std::size_t i = 0; i < count; ++i) {
      inputs_.write(candidates[first + i].config, 0.0, features_.row(i));
    }
    model.ask(features_, answer_, false);
    for (std::size_t i = 0; i < count; ++i) {
      Candidate& candidate = candidates[first + i];
      candidate.mean = answer_.means[i];
      candidate.deviation = answer_.deviations[i];
      candidate.value = criterion.value(answer_, i, nullptr, nullptr);
      if (prior_weight_ > 0.0) {
        candidate.value -= prior_weight_ * space_.log_prior(space_.encode(candidate.config));
      }
    }
  }
}

double Maximiser::prior_slope(std::size_t coordinate, double latent) const {
  const Parameter& parameter = space_[space_.searched()[coordinate]];
  return parameter.prior.empty()
             ? 0.0
             : -(latent - parameter.prior[0]) / (parameter.prior[1] * parameter.prior[1]);
}

void Maximiser::climb(const GaussianProcess& model, const Criterion& criterion,
                      std::vector<Candidate>& starts, const Box& box, int evaluations) {
  if (smooth_.empty()) {
    return;
  }
  std::vector<Start> walks;
  for (const Candidate& candidate : starts) {
    walks.push_back({candidate.latent, 0.0, true});
  }
  // Discrete coordinates never move here (their slope is 0), so what is active stays so along a
  // walk.
  const auto function = [&](std::span<const std::vector<double>* const> points,
                            std::span<double> values, std::span<std::vector<double>> slopes) {
    const std::size_t count = points.size();
    features_.resize(count, inputs_.size());
    by_whitened_.resize(count, model.size());
    std::vector<double> by_mean(count);
    std::vector<Config> configs;
    for (std::size_t i = 0; i < count; ++i) {
      configs.push_back(space_.decode(*points[i]));
      inputs_.write(configs[i], 0.0, features_.row(i));
      for (const std::size_t k : smooth_) {
        if (!std::isnan(configs[i].values[space_.searched()[k]])) {
          features_(i, *inputs_.feature_of(k)) = (*points[i])[k];
        }
      }
    }
    model.ask(features_, answer_, true);
    for (std::size_t i = 0; i < count; ++i) {
      values[i] = criterion.value(answer_, i, &by_mean[i], by_whitened_.row(i));
      values[i] -= prior_weight_ > 0.0 ? prior_weight_ * space_.log_prior(*points[i]) : 0.0;
    }
    model.gradients(answer_, by_mean, by_whitened_, gradients_);
    for (std::size_t i = 0; i < count; ++i) {
      for (const std::size_t k : smooth_) {
        if (!std::isnan(configs[i].values[space_.searched()[k]])) {
          slopes[i][k] = gradients_(i, *inputs_.feature_of(k)) -
                         prior_weight_ * prior_slope(k, (*points[i])[k]);
        }
      }
    }
  };
  minimise(function, box, walks,
           {.evaluations = evaluations, .tolerance = 1e-5, .gradient_tolerance = 1e-4});
  for (std::size_t i = 0; i < starts.size(); ++i) {
    starts[i] = at(std::move(walks[i].point));
  }
}

bool Maximiser::pass(const GaussianProcess& model, const Criterion& criterion, Candidate& candidate,
                     const Box& box) {
  bool has_moved = false;
  for (const std::size_t k : discrete_) {
    const Parameter& parameter = space_[space_.searched()[k]];
    std::vector<Candidate> others;
    const auto offer = [&](double latent) {
      std::vector<double> moved = candidate.latent;
      moved[k] = std::clamp(latent, box.low[k], box.high[k]);
      Candidate other = at(std::move(moved));
      if (!(other.config == candidate.config) && space_.allows(other.config)) {
        others.push_back(std::move(other));
      }
    };
    const std::uint64_t count = parameter.count().value_or(4096);
    if (count <= listed) {
      for (std::uint64_t v = 0; v < count; ++v) {
        offer(parameter.encode(parameter.value_at(v)));
      }
    } else {
      for (double reach = 1.0 / static_cast<double>(count); reach < 1.0; reach *= 2.5) {
        offer(candidate.latent[k] - reach);
        offer(candidate.latent[k] + reach);
      }
    }
    judge(model, criterion, others);
    for (Candidate& other : others) {
      if (other.value < candidate.value - 1e-9) {
        candidate = std::move(other);
        has_moved = true;
      }
    }
  }
  return has_moved;
}

std::vector<Candidate> Maximiser::refine(const GaussianProcess& model, const Criterion& criterion,
                                         std::vector<Candidate> raw, const Config& incumbent,
                                         const Box& box, double prior_weight, Random& random) {
  prior_weight_ = prior_weight;
  judge(model, criterion, raw);
  std::ranges::stable_sort(raw, {}, &Candidate::value);
  std::vector<Candidate> starts;
  std::vector<double> latent = space_.encode(incumbent);
  for (std::size_t k = 0; k < latent.size(); ++k) {
    latent[k] = std::clamp(std::isnan(latent[k]) ? 0.5 : latent[k], box.low[k], box.high[k]);
  }
  starts.push_back(at(std::move(latent)));
  std::vector<std::pair<double, std::size_t>>
      lots;  // Gumbel: the largest of -value + noise is a draw from the softmax of -value
  double spread = 0.0;
  for (std::size_t i = 0; i < raw.size(); ++i) {
    spread += (raw[i].value - raw.front().value) / static_cast<double>(raw.size());
  }
  for (std::size_t i = 0; i < raw.size(); ++i) {
    if (i < greedy_starts) {
      starts.push_back(raw[i]);
    } else {
      const double gumbel = -std::log(-std::log(random.uniform() + 1e-300) + 1e-300);
      lots.emplace_back(raw[i].value / std::max(0.3 * spread, 1e-12) - gumbel, i);
    }
  }
  std::ranges::sort(lots);
  for (std::size_t i = 0; i < std::min(softmax_starts, lots.size()); ++i) {
    starts.push_back(raw[lots[i].second]);
  }
  climb(model, criterion, starts, box, 60);
  judge(model, criterion, starts);
  std::ranges::stable_sort(starts, {}, &Candidate::value);
  for (std::size_t i = 0; i < std::min(refined_by_passes, starts.size()) && !discrete_.empty();
       ++i) {
    for (int round = 0; round < 4 && pass(model, criterion, starts[i], box); ++round) {
      std::vector<Candidate> one{starts[i]};
      climb(model, criterion, one, box, 15);
      judge(model, criterion, one);
      if (one.front().value < starts[i].value) {
        starts[i] = std::move(one.front());
      }
    }
  }
  starts.insert(starts.end(), std::make_move_iterator(raw.begin()),
                std::make_move_iterator(raw.end()));
  std::erase_if(starts,
                [&](const Candidate& candidate) { return !space_.allows(candidate.config); });
  std::ranges::stable_sort(starts, {}, &Candidate::value);
  return starts;
}

}  // namespace muster::hpo
