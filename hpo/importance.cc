// SPDX-License-Identifier: Apache-2.0
#include "hpo/importance.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "hpo/model_inputs.h"
#include "hpo/output_warp.h"
#include "hpo/sobol.h"

namespace muster::hpo {
namespace {

constexpr std::size_t most_rows = 500;
constexpr std::size_t least_rows = 4;
constexpr std::size_t importance_draws = 1024;

/// Successful trials at their largest resource, in the order of the history.
std::vector<std::size_t> final_rows(const History& history, std::size_t seen) {
  std::unordered_map<std::uint64_t, std::size_t> last;
  for (std::size_t i = 0; i < seen; ++i) {
    if (!history[i].failed && history[i].source == 0) {
      const auto [place, is_new] = last.try_emplace(history[i].trial, i);
      place->second =
          is_new || history[i].resource >= history[place->second].resource ? i : place->second;
    }
  }
  std::vector<std::size_t> rows;
  for (const auto& [trial, row] : last) {
    rows.push_back(row);
  }
  std::ranges::sort(rows);
  return rows;
}

GaussianProcess model_of(const ModelInputs& inputs, const History& history,
                         const std::vector<std::size_t>& rows) {
  Matrix features(rows.size(), inputs.size());
  std::vector<double> values;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    inputs.write(history[rows[i]].config, 0.0, features.row(i));
    values.push_back(history[rows[i]].value);
  }
  values = warp_outputs(values, std::vector<bool>(rows.size(), false));
  GaussianProcess model(inputs.shape(),
                        fit(inputs.shape(), features, values, {usual_start(inputs.shape())}, 60));
  model.append_all(features);
  model.set_values(values);
  return model;
}

std::vector<double> means_at(const GaussianProcess& model, const ModelInputs& inputs,
                             const Space& space, const Matrix& coordinates) {
  Matrix features(coordinates.rows(), inputs.size());
  for (std::size_t i = 0; i < coordinates.rows(); ++i) {
    inputs.write(space.decode({coordinates.row(i), coordinates.columns()}), 0.0, features.row(i));
  }
  GaussianProcess::Answer answer;
  model.ask(features, answer, false);
  return answer.means;
}

}  // namespace

std::string_view importance_method() {
  return "total-effect ANOVA on the Gaussian process";
}

std::vector<Importance> importance(const Space& space, const History& history, std::size_t seen,
                                   std::uint64_t seed) {
  std::vector<std::size_t> rows = final_rows(history, seen);
  if (rows.size() < least_rows || space.dimensions() == 0) {
    return {};
  }
  rows.erase(rows.begin(),
             rows.end() - static_cast<std::ptrdiff_t>(std::min(most_rows, rows.size())));
  const ModelInputs inputs(space, 0.0, 0.0, false);
  const GaussianProcess model = model_of(inputs, history, rows);
  const std::size_t d = space.dimensions();
  const Sobol points(
      2 * d,
      seed);  // the first half is where we stand, the second what one parameter is drawn again to
  Matrix here(importance_draws, d);
  Matrix there(importance_draws, d);
  std::vector<double> point(2 * d);
  for (std::size_t i = 0; i < importance_draws; ++i) {
    points.at(i, point);
    std::copy_n(point.begin(), d, here.row(i));
    std::copy_n(point.begin() + static_cast<std::ptrdiff_t>(d), d, there.row(i));
  }
  const std::vector<double> before = means_at(model, inputs, space, here);
  std::vector<Importance> result;
  double sum = 0.0;
  for (std::size_t k = 0; k < d; ++k) {
    Matrix moved = here;
    for (std::size_t i = 0; i < importance_draws; ++i) {
      moved(i, k) = there(i, k);
    }
    const std::vector<double> after = means_at(model, inputs, space, moved);
    double effect = 0.0;
    for (std::size_t i = 0; i < importance_draws; ++i) {
      effect += (after[i] - before[i]) * (after[i] - before[i]) / (2.0 * importance_draws);
    }
    result.push_back({space[space.searched()[k]].key, effect});
    sum += effect;
  }
  for (Importance& entry : result) {
    entry.share = sum > 0.0 ? entry.share / sum : 0.0;
  }
  std::ranges::stable_sort(result, std::ranges::greater(), &Importance::share);
  return result;
}

ParallelCoordinates parallel_coordinates(const Space& space, const History& history,
                                         std::size_t seen) {
  ParallelCoordinates result;
  for (const std::size_t i : space.searched()) {
    const Parameter& parameter = space[i];
    ParallelAxis axis{parameter.key, {}};
    if (parameter.kind != Kind::number) {
      for (std::size_t v = 0; v < parameter.words.size(); ++v) {
        axis.ticks.push_back({parameter.encode(static_cast<double>(v)), parameter.words[v]});
      }
    } else {
      for (int step = 0; step <= 4; ++step) {
        const double value = parameter.decode(0.25 * step);
        axis.ticks.push_back({parameter.encode(value), space.word(i, value)});
      }
    }
    result.axes.push_back(std::move(axis));
  }
  for (const std::size_t row : final_rows(history, seen)) {
    result.lines.push_back(
        {history[row].trial, space.encode(history[row].config), history[row].value});
  }
  return result;
}

}  // namespace muster::hpo
