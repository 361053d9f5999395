// SPDX-License-Identifier: Apache-2.0
#include "hpo/output_warp.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "hpo/normal.h"

namespace muster::hpo {
namespace {

double median_of(const std::vector<double>& sorted) {
  const std::size_t n = sorted.size();
  return n % 2 == 1 ? sorted[n / 2] : 0.5 * (sorted[n / 2 - 1] + sorted[n / 2]);
}

double deviation(std::span<const double> distinct, double centre) {
  double sum = 0.0;
  for (double y : distinct) {
    sum += (y - centre) * (y - centre);
  }
  return distinct.empty() ? 0.0 : std::sqrt(sum / static_cast<double>(distinct.size()));
}

void half_rank(std::vector<double>& values) {
  std::vector<double> sorted = values;
  std::ranges::sort(sorted);
  const double median = median_of(sorted);
  const auto bad = static_cast<double>(sorted.end() - std::ranges::upper_bound(sorted, median));
  sorted.erase(std::ranges::unique(sorted).begin(), sorted.end());
  const auto first_bad = std::ranges::upper_bound(sorted, median);
  double spread = deviation(std::span<const double>(sorted.begin(), first_bad), median);
  spread = spread > 0.0 ? spread : deviation(sorted, median);
  for (double& y : values) {
    if (y > median) {
      const auto rank = static_cast<double>(
          sorted.end() - std::ranges::lower_bound(sorted, y));  // 1 = worst distinct value
      y = median - spread * normal_quantile(0.5 * (rank - 0.5) / (bad + 0.5));
    }
  }
}

void log_warp(std::vector<double>& values) {
  const auto [low, high] = std::ranges::minmax(values);
  for (double& y : values) {
    const double t = high > low ? (y - low) / (high - low) : 0.0;
    y = std::log1p(0.5 * t) / std::log(1.5) - 0.5;
  }
}

void standardise(std::vector<double>& values) {
  double mean = 0.0;
  for (double y : values) {
    mean += y / static_cast<double>(values.size());
  }
  const double spread = deviation(values, mean);
  for (double& y : values) {
    y = spread > 0.0 ? (y - mean) / spread : 0.0;
  }
}

}  // namespace

std::vector<double> warp_outputs(std::span<const double> values, const std::vector<bool>& failed) {
  std::vector<double> good;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!failed[i]) {
      good.push_back(values[i]);
    }
  }
  if (good.empty()) {
    return std::vector<double>(values.size(), 0.0);
  }
  half_rank(good);
  log_warp(good);
  const auto [low, high] = std::ranges::minmax(good);
  const double failure = high + 0.5 * (high - low) + 1.0;
  const double share =
      (static_cast<double>(good.size()) + 0.5) / (static_cast<double>(values.size()) + 1.0);
  double mean = 0.0;
  for (double y : good) {
    mean += y / static_cast<double>(good.size());
  }
  const double population = share * mean + (1.0 - share) * failure;
  std::vector<double> warped(values.size());
  std::size_t next = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    warped[i] = (failed[i] ? failure : good[next++]) - population;
  }
  standardise(warped);
  return warped;
}

}  // namespace muster::hpo
