// SPDX-License-Identifier: Apache-2.0
#include "hpo/branches.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "hpo/normal.h"

namespace muster::hpo {
namespace {

constexpr std::size_t draws = 24;
constexpr std::size_t most_good = 25;
constexpr double other_share = 0.2;  // of a list's kernel, for the values that are not its centre

bool same(const Condition& a, const Condition& b) {
  return std::ranges::equal(a, b, [](const Test& x, const Test& y) {
    return x.parameter == y.parameter && x.op == y.op && x.values == y.values;
  });
}

std::size_t depth_of(const Space& space, std::size_t parameter) {
  std::size_t depth = 0;
  for (const Test& test : space[parameter].condition) {
    depth = std::max(depth, 1 + depth_of(space, test.parameter));
  }
  return depth;
}

/// Scott's rule for points in the unit cube.
double width_for(std::size_t points, std::size_t dimensions) {
  return 0.3 * std::pow(static_cast<double>(std::max<std::size_t>(points, 1)),
                        -1.0 / (static_cast<double>(dimensions) + 4.0));
}

}  // namespace

Branches::Branches(const Space& space) : space_(space) {
  for (std::size_t k = 0; k < space.dimensions(); ++k) {
    const std::size_t parameter = space.searched()[k];
    const Condition& condition = space[parameter].condition;
    if (condition.empty()) {
      continue;
    }
    auto branch = std::ranges::find_if(branches_, [&](const Branch& known) {
      return same(space[known.parameter].condition, condition);
    });
    if (branch == branches_.end()) {
      branch = branches_.insert(branch, {{}, parameter, depth_of(space, parameter)});
    }
    branch->coordinates.push_back(k);
  }
  std::ranges::stable_sort(branches_, {}, &Branch::depth);
}

Config Branches::redraw(const Config& config, const History& history, std::size_t seen,
                        Random& random) const {
  Config result = config;
  for (const Branch& branch : branches_) {
    if (std::isnan(result.values[branch.parameter])) {
      continue;
    }
    const Points results = results_in(branch, history, seen);
    if (branch.depth == 1 && results.size() >= 2 * (branch.coordinates.size() + 1)) {
      continue;
    }
    const std::vector<double> drawn = draw(branch, results, random);
    std::vector<double> coordinates = space_.encode(result);
    for (std::size_t i = 0; i < drawn.size(); ++i) {
      coordinates[branch.coordinates[i]] = drawn[i];
    }
    const Config before = std::exchange(result, space_.decode(coordinates));
    for (std::size_t i = 0; i < result.values.size(); ++i) {  // the rest stays, to the last bit
      const bool is_drawn = std::ranges::any_of(
          branch.coordinates, [&](std::size_t k) { return space_.searched()[k] == i; });
      const bool stays =
          !is_drawn && !std::isnan(before.values[i]) && !std::isnan(result.values[i]);
      result.values[i] = stays ? before.values[i] : result.values[i];
    }
  }
  return space_.allows(result) ? result : config;
}

Branches::Points Branches::results_in(const Branch& branch, const History& history,
                                      std::size_t seen) const {
  std::vector<std::size_t> rows;
  for (std::size_t i = 0; i < seen; ++i) {
    if (history[i].source == 0 && !std::isnan(history[i].config.values[branch.parameter])) {
      rows.push_back(i);
    }
  }
  std::ranges::stable_sort(rows, [&](std::size_t a, std::size_t b) {
    return history[a].failed != history[b].failed ? history[b].failed
                                                  : history[a].value < history[b].value;
  });
  Points points;
  for (const std::size_t row : rows) {
    std::vector<double> point;
    for (const std::size_t k : branch.coordinates) {
      const std::size_t parameter = space_.searched()[k];
      point.push_back(space_[parameter].encode(history[row].config.values[parameter]));
    }
    points.push_back(std::move(point));
  }
  return points;
}

std::vector<double> Branches::draw(const Branch& branch, const Points& results,
                                   Random& random) const {
  const std::size_t good = std::min((results.size() + 3) / 4, most_good);
  const double width = width_for(good, branch.coordinates.size());
  const double rest_width = width_for(results.size() - good, branch.coordinates.size());
  std::vector<double> best;
  double best_score = 0.0;
  for (std::size_t i = 0; i < (good == 0 ? 1 : draws); ++i) {
    const std::uint64_t component = random.below(good + 1);
    std::vector<double> point =
        draw_around(branch, component < good ? &results[component] : nullptr, width, random);
    const double score = log_density(branch, point, results, 0, good, width) -
                         log_density(branch, point, results, good, results.size(), rest_width);
    if (best.empty() || score > best_score) {
      best = std::move(point);
      best_score = score;
    }
  }
  return best;
}

/// Around a result, or without one from the prior.
std::vector<double> Branches::draw_around(const Branch& branch, const std::vector<double>* centre,
                                          double width, Random& random) const {
  std::vector<double> point;
  for (std::size_t i = 0; i < branch.coordinates.size(); ++i) {
    const Parameter& parameter = space_[space_.searched()[branch.coordinates[i]]];
    const double uniform = random.uniform();
    if (centre == nullptr) {
      point.push_back(parameter.shaped(uniform));
    } else if (parameter.kind == Kind::choice) {
      point.push_back(random.uniform() < other_share ? uniform : (*centre)[i]);
    } else {  // a normal number cut to the unit interval
      const double below = normal_share(-(*centre)[i] / width);
      const double above = normal_share((1.0 - (*centre)[i]) / width);
      point.push_back(std::clamp(
          (*centre)[i] + width * normal_quantile(below + uniform * (above - below)), 0.0, 1.0));
    }
  }
  return point;
}

double Branches::log_density(const Branch& branch, const std::vector<double>& point,
                             const Points& results, std::size_t first, std::size_t last,
                             double width) const {
  double prior = 0.0;
  for (std::size_t i = 0; i < point.size(); ++i) {
    prior += space_[space_.searched()[branch.coordinates[i]]].log_density(point[i]);
  }
  double sum = std::exp(prior);
  for (std::size_t row = first; row < last; ++row) {
    double product = 1.0;
    for (std::size_t i = 0; i < point.size(); ++i) {
      product *= kernel(branch.coordinates[i], point[i], results[row][i], width);
    }
    sum += product;
  }
  return std::log(sum / static_cast<double>(last - first + 1));
}

double Branches::kernel(std::size_t coordinate, double at, double centre, double width) const {
  const Parameter& parameter = space_[space_.searched()[coordinate]];
  if (parameter.kind == Kind::choice) {
    const auto count = static_cast<double>(parameter.words.size());
    const bool is_same = parameter.decode(at) == parameter.decode(centre);
    return count * ((is_same ? 1.0 - other_share : 0.0) + other_share / count);
  }
  const double z = (at - centre) / width;
  const double inside = normal_share((1.0 - centre) / width) - normal_share(-centre / width);
  return std::exp(-0.5 * z * z) / (std::sqrt(2.0 * std::numbers::pi) * width * inside);
}

}  // namespace muster::hpo
