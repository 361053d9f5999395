// SPDX-License-Identifier: Apache-2.0
// Functions as a plug-in: eight families that the judged suite does not have, for choosing settings
// on: Griewank, Michalewicz, Zakharov, Shekel, Schaffer's F7, a step ellipsoid, Lunacek's double
// Rastrigin, Weierstrass. Build a file like this one as a shared object, and name it after
// --plugin.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "benchmarks/tuner/landscape.h"

namespace muster::benchmarks {
namespace {

constexpr double pi = std::numbers::pi;

std::function<double(Point)> griewank(std::uint64_t key, std::size_t dimensions) {
  return [centre = fixed_point(key, dimensions, -100, 100)](Point x) {
    double squares = 0;
    double product = 1;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double z = x[i] - centre[i];
      squares += z * z;
      product *= std::cos(z / std::sqrt(static_cast<double>(i) + 1));
    }
    return 1 + squares / 4000 - product;
  };
}

double michalewicz(Point x) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double bend = static_cast<double>(i + 1) * x[i] * x[i] / pi;
    sum -= std::sin(x[i]) * std::pow(std::sin(bend), 20);
  }
  return sum;
}

std::function<double(Point)> zakharov(std::uint64_t key, std::size_t dimensions) {
  return [centre = fixed_point(key, dimensions, -5, 10)](Point x) {
    double squares = 0;
    double slope = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double z = x[i] - centre[i];
      squares += z * z;
      slope += 0.5 * static_cast<double>(i + 1) * z;
    }
    return squares + slope * slope + std::pow(slope, 4);
  };
}

/// Ten wells of different depths and widths.
std::function<double(Point)> shekel(std::uint64_t key, std::size_t dimensions) {
  std::vector<std::vector<double>> wells;
  for (std::uint64_t k = 0; k < 10; ++k) {
    wells.push_back(fixed_point(100 * key + k, dimensions, 0, 10));
  }
  return [wells](Point x) {
    double sum = 0;
    for (std::size_t k = 0; k < wells.size(); ++k) {
      double squares = 0.1 + 0.06 * static_cast<double>(k);
      for (std::size_t i = 0; i < x.size(); ++i) {
        squares += (x[i] - wells[k][i]) * (x[i] - wells[k][i]);
      }
      sum -= 1 / squares;
    }
    return sum;
  };
}

std::function<double(Point)> schaffer(std::uint64_t key, std::size_t dimensions) {
  return [rows = rotation(key, dimensions), centre = fixed_point(key, dimensions, -5, 5)](Point x) {
    const std::vector<double> z = turned(rows, x, centre);
    double sum = 0;
    for (std::size_t i = 0; i + 1 < z.size(); ++i) {
      const double s = std::hypot(z[i], z[i + 1]);
      sum += std::sqrt(s) * (1 + std::pow(std::sin(50 * std::pow(s, 0.2)), 2));
    }
    return std::pow(sum / static_cast<double>(z.size() - 1), 2);
  };
}

std::function<double(Point)> steps(std::uint64_t key, std::size_t dimensions) {
  return [rows = rotation(key, dimensions), centre = fixed_point(key, dimensions, -5, 5)](Point x) {
    const std::vector<double> z = turned(rows, x, centre);
    double sum = 0;
    for (std::size_t i = 0; i < z.size(); ++i) {
      const double stair = std::floor(0.5 + z[i]);
      sum +=
          std::pow(1e2, static_cast<double>(i) / static_cast<double>(z.size() - 1)) * stair * stair;
    }
    return std::max(std::abs(z[0]) / 1e4, 0.1 * sum);
  };
}

/// Two funnels under a Rastrigin ripple, the wider one the worse.
std::function<double(Point)> lunacek(std::uint64_t key, std::size_t dimensions) {
  return [signs = fixed_point(key, dimensions, -1, 1)](Point x) {
    const auto n = static_cast<double>(x.size());
    const double s = 1 - 1 / (2 * std::sqrt(n + 20) - 8.2);
    const double near = 2.5;
    const double far = -std::sqrt((near * near - 1) / s);
    double first = 0;
    double second = 0;
    double ripple = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double z = signs[i] < 0 ? -x[i] : x[i];
      first += (z - near) * (z - near);
      second += (z - far) * (z - far);
      ripple += 1 - std::cos(2 * pi * (z - near));
    }
    return std::min(first, n + s * second) + 10 * ripple;
  };
}

std::function<double(Point)> weierstrass(std::uint64_t key, std::size_t dimensions) {
  return [centre = fixed_point(key, dimensions, -0.5, 0.5)](Point x) {
    double sum = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      for (int k = 0; k < 12; ++k) {
        sum += std::pow(0.5, k) * (std::cos(2 * pi * std::pow(3.0, k) * (x[i] - centre[i] + 0.5)) -
                                   std::cos(pi * std::pow(3.0, k)));
      }
    }
    return 10 * std::pow(sum / static_cast<double>(x.size()), 3);
  };
}

std::vector<Problem> terrain() {
  return {
      problem("griewank6", 6, -100, 100, griewank(31, 6)),
      problem("michalewicz5", 5, 0, pi, michalewicz),
      problem("zakharov5", 5, -5, 10, zakharov(33, 5)),
      problem("shekel4", 4, 0, 10, shekel(34, 4)),
      problem("schaffer5", 5, -5, 5, schaffer(35, 5)),
      problem("steps6", 6, -5, 5, steps(36, 6)),
      problem("lunacek4", 4, -5, 5, lunacek(37, 4)),
      problem("weierstrass5", 5, -0.5, 0.5, weierstrass(38, 5)),
  };
}

}  // namespace
}  // namespace muster::benchmarks

MUSTER_PROBLEMS(muster::benchmarks::terrain)
