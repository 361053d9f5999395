// SPDX-License-Identifier: Apache-2.0
#include "benchmarks/tuner/landscape.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "runtime/base/random.h"
#include "runtime/base/text.h"

namespace muster::benchmarks {

Problem problem(const std::string& name, std::size_t dimensions, double low, double high,
                std::function<double(Point)> value) {
  Problem result{.name = name, .suite = "synthetic"};
  for (std::size_t i = 0; i < dimensions; ++i) {
    result.search.push_back(
        {"x" + std::to_string(i), "linear " + exact(low) + " " + exact(high), name});
  }
  result.evaluate = [value = std::move(value)](Point x, int) { return Outcome{value(x), 1.0}; };
  return result;
}

std::vector<double> fixed_point(std::uint64_t key, std::size_t dimensions, double low, double high,
                                double share) {
  Random random(0x7e57, key);
  std::vector<double> point(dimensions);
  for (double& x : point) {
    x = 0.5 * (low + high) + share * (random.uniform() - 0.5) * (high - low);
  }
  return point;
}

Rows rotation(std::uint64_t key, std::size_t dimensions) {
  Random random(0x0170, key);
  Rows rows;
  while (rows.size() < dimensions) {
    std::vector<double> row(dimensions);
    std::ranges::generate(row, [&] { return random.normal(); });
    for (const std::vector<double>& other : rows) {
      double dot = 0;
      for (std::size_t i = 0; i < dimensions; ++i) {
        dot += row[i] * other[i];
      }
      for (std::size_t i = 0; i < dimensions; ++i) {
        row[i] -= dot * other[i];
      }
    }
    double norm = 0;
    for (double x : row) {
      norm += x * x;
    }
    for (double& x : row) {
      x /= std::sqrt(norm);
    }
    rows.push_back(row);
  }
  return rows;
}

std::vector<double> turned(const Rows& rows, Point x, const std::vector<double>& centre) {
  std::vector<double> result(rows.size(), 0.0);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      result[r] += rows[r][i] * (x[i] - centre[i]);
    }
  }
  return result;
}

}  // namespace muster::benchmarks
