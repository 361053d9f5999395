// SPDX-License-Identifier: Apache-2.0
#include "hpo/rows.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <tuple>

#include "hpo/output_warp.h"

namespace muster::hpo {
namespace {

constexpr std::size_t most_fidelity_rows = 350;
constexpr std::size_t most_high_rows = 250;
constexpr std::size_t most_region_rows = 512;
constexpr std::size_t best_region_rows = 128;

}  // namespace

Rows all_rows(std::size_t seen) {
  Rows rows{std::vector<std::size_t>(seen), true};
  std::iota(rows.positions.begin(), rows.positions.end(), std::size_t{0});
  return rows;
}

Rows fidelity_rows(const History& history, std::size_t seen, const ModelInputs& inputs) {
  Rows rows;
  std::vector<std::size_t> low;
  for (std::size_t i = seen;
       i-- > 0 && rows.positions.size() + low.size() < 100 * most_fidelity_rows;) {
    const bool is_high = inputs.fidelity(history[i].resource) > 0.5;
    if (is_high && rows.positions.size() < most_high_rows) {
      rows.positions.push_back(i);
    } else if (!is_high && low.size() < most_fidelity_rows) {
      low.push_back(i);
    }
  }
  low.resize(std::min(low.size(), most_fidelity_rows - rows.positions.size()));
  rows.positions.insert(rows.positions.end(), low.begin(), low.end());
  std::ranges::sort(rows.positions);
  return rows;
}

Rows region_rows(const History& history, std::size_t seen, const Space& space, std::size_t begin,
                 const Box& box) {
  Rows rows;
  std::vector<std::size_t> outside;
  for (std::size_t i = seen; i-- > begin;) {
    if (history[i].source > 0) {
      continue;
    }
    const std::vector<double> u = space.encode(history[i].config);
    bool is_inside = rows.positions.size() < most_region_rows;
    for (std::size_t k = 0; k < u.size() && is_inside; ++k) {
      const double margin = 0.5 * (box.high[k] - box.low[k]);
      is_inside = std::isnan(u[k]) || (u[k] >= box.low[k] - margin && u[k] <= box.high[k] + margin);
    }
    (is_inside ? rows.positions : outside).push_back(i);
  }
  const auto is_better = [&](std::size_t a, std::size_t b) {
    return history[a].failed != history[b].failed ? history[b].failed
                                                  : history[a].value < history[b].value;
  };
  const auto last =
      outside.begin() + static_cast<std::ptrdiff_t>(std::min(best_region_rows, outside.size()));
  std::ranges::partial_sort(outside, last, is_better);
  rows.positions.insert(rows.positions.end(), outside.begin(), last);
  std::ranges::sort(rows.positions);
  return rows;
}

std::vector<double> warped_values(const History& history, const Rows& rows, std::uint32_t sources) {
  std::vector<double> result(rows.positions.size());
  for (std::uint32_t source = 0; source <= sources; ++source) {
    std::vector<double> values;
    std::vector<bool> failed;
    std::vector<std::size_t> places;
    for (std::size_t place = 0; place < rows.positions.size(); ++place) {
      const Observation& row = history[rows.positions[place]];
      if (row.source == source) {
        values.push_back(row.value);
        failed.push_back(row.failed);
        places.push_back(place);
      }
    }
    values = warp_outputs(values, failed);
    for (std::size_t i = 0; i < places.size(); ++i) {
      result[places[i]] = values[i];
    }
  }
  return result;
}

Matrix features_of(const History& history, const Rows& rows, std::size_t count,
                   const ModelInputs& inputs) {
  Matrix features(count, inputs.size());
  for (std::size_t i = 0; i < count; ++i) {
    const Observation& row = history[rows.positions[i]];
    inputs.write(row.config, row.resource, features.row(i), row.source);
  }
  return features;
}

std::vector<double> own_values(const History& history, const Rows& rows,
                               const std::vector<double>& values) {
  std::vector<double> own;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (history[rows.positions[i]].source == 0) {
      own.push_back(values[i]);
    }
  }
  return own.empty() ? values : own;
}

std::vector<Config> best_of(const History& history, const Rows& rows,
                            const std::vector<double>& values, const ModelInputs& inputs) {
  std::vector<std::size_t> order(rows.positions.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto rank =
      [&](std::size_t i) {  // a result at a low rung says less: the highest resource first
        return std::tuple(
            history[rows.positions[i]].source > 0,
            inputs.has_resource() ? -inputs.fidelity(history[rows.positions[i]].resource) : 0.0,
            values[i]);
      };
  const auto last =
      order.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(5, order.size()));
  std::ranges::partial_sort(order, last, {}, rank);
  std::vector<Config> best;
  for (auto i = order.begin(); i != last; ++i) {
    best.push_back(history[rows.positions[*i]].config);
  }
  return best;
}

}  // namespace muster::hpo
