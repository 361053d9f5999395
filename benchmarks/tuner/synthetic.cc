// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <utility>

#include "benchmarks/tuner/landscape.h"
#include "runtime/base/random.h"

namespace muster::benchmarks {
namespace {

constexpr double pi = std::numbers::pi;

double branin(Point x) {
  const double a = -5.0 + 15.0 * x[0];
  const double b = 15.0 * x[1];
  const double bend = b - 5.1 / (4 * pi * pi) * a * a + 5 / pi * a - 6;
  return bend * bend + 10 * (1 - 1 / (8 * pi)) * std::cos(a) + 10;
}

double hartmann6(Point x) {
  static constexpr std::array<std::array<double, 6>, 4> a{{{10, 3, 17, 3.5, 1.7, 8},
                                                           {0.05, 10, 17, 0.1, 8, 14},
                                                           {3, 3.5, 1.7, 10, 17, 8},
                                                           {17, 8, 0.05, 10, 0.1, 14}}};
  static constexpr std::array<std::array<double, 6>, 4> p{
      {{0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886},
       {0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991},
       {0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650},
       {0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381}}};
  static constexpr std::array<double, 4> c{1.0, 1.2, 3.0, 3.2};
  double sum = 0;
  for (std::size_t k = 0; k < 4; ++k) {
    double exponent = 0;
    for (std::size_t i = 0; i < 6; ++i) {
      exponent += a[k][i] * (x[i] - p[k][i]) * (x[i] - p[k][i]);
    }
    sum -= c[k] * std::exp(-exponent);
  }
  return sum;
}

std::function<double(Point)> ackley(std::uint64_t key, std::size_t dimensions) {
  return [centre = fixed_point(key, dimensions, -32.768, 32.768)](Point x) {
    double squares = 0;
    double waves = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double z = x[i] - centre[i];
      squares += z * z;
      waves += std::cos(2 * pi * z);
    }
    const auto n = static_cast<double>(x.size());
    return -20 * std::exp(-0.2 * std::sqrt(squares / n)) - std::exp(waves / n) + 20 +
           std::numbers::e;
  };
}

double rosenbrock(Point x) {
  double sum = 0;
  for (std::size_t i = 0; i + 1 < x.size(); ++i) {
    const double bend = x[i + 1] - x[i] * x[i];
    sum += 100 * bend * bend + (1 - x[i]) * (1 - x[i]);
  }
  return sum;
}

double levy(Point x) {
  const auto w = [&](std::size_t i) { return 1 + (x[i] - 1) / 4; };
  double sum = std::pow(std::sin(pi * w(0)), 2);
  for (std::size_t i = 0; i + 1 < x.size(); ++i) {
    sum += std::pow(w(i) - 1, 2) * (1 + 10 * std::pow(std::sin(pi * w(i) + 1), 2));
  }
  const double last = w(x.size() - 1);
  return sum + std::pow(last - 1, 2) * (1 + std::pow(std::sin(2 * pi * last), 2));
}

std::function<double(Point)> rastrigin(std::uint64_t key, std::size_t dimensions) {
  return [centre = fixed_point(key, dimensions, -5.12, 5.12)](Point x) {
    double sum = 10.0 * static_cast<double>(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double z = x[i] - centre[i];
      sum += z * z - 10 * std::cos(2 * pi * z);
    }
    return sum;
  };
}

std::function<double(Point)> ellipsoid(std::uint64_t key, std::size_t dimensions) {
  return [rows = rotation(key, dimensions), centre = fixed_point(key, dimensions, -5, 5)](Point x) {
    const std::vector<double> z = turned(rows, x, centre);
    double sum = 0;
    for (std::size_t i = 0; i < z.size(); ++i) {
      sum +=
          std::pow(1e3, static_cast<double>(i) / static_cast<double>(z.size() - 1)) * z[i] * z[i];
    }
    return sum;
  };
}

double styblinski(Point x) {
  double sum = 0;
  for (double v : x) {
    sum += std::pow(v, 4) - 16 * v * v + 5 * v;
  }
  return 0.5 * sum;
}

std::function<double(Point)> sharp_ridge(std::uint64_t key, std::size_t dimensions) {
  return [rows = rotation(key, dimensions), centre = fixed_point(key, dimensions, -5, 5)](Point x) {
    const std::vector<double> z = turned(rows, x, centre);
    double rest = 0;
    for (std::size_t i = 1; i < z.size(); ++i) {
      rest += z[i] * z[i];
    }
    return z[0] * z[0] + 100 * std::sqrt(rest);
  };
}

/// 21 Gaussian peaks of different widths, the highest one narrow (after Gallagher's family in
/// BBOB).
std::function<double(Point)> gallagher(std::uint64_t key, std::size_t dimensions) {
  struct Peak {
    std::vector<double> centre;
    std::vector<double> widths;
    double height;
  };
  Random random(0x9a11, key);
  std::vector<Peak> peaks;
  for (std::uint64_t k = 0; k < 21; ++k) {
    Peak peak{fixed_point(100 * key + k, dimensions, -5, 5, 0.95),
              {},
              k == 0 ? 10.0 : 1.1 + 8.0 * (static_cast<double>(k) - 1) / 19.0};
    const double condition = k == 0 ? 1000.0 : std::pow(1000.0, 2.0 * random.uniform());
    for (std::size_t i = 0; i < dimensions; ++i) {
      peak.widths.push_back(std::pow(condition, 0.5 * random.uniform()) /
                            std::pow(condition, 0.25));
    }
    peaks.push_back(peak);
  }
  return [peaks, rows = rotation(key, dimensions)](Point x) {
    double best = 0;
    for (const Peak& peak : peaks) {
      const std::vector<double> z = turned(rows, x, peak.centre);
      double exponent = 0;
      for (std::size_t i = 0; i < z.size(); ++i) {
        exponent += peak.widths[i] * z[i] * z[i];
      }
      best =
          std::max(best, peak.height * std::exp(-exponent / (2.0 * static_cast<double>(z.size()))));
    }
    return (10 - best) * (10 - best);
  };
}

}  // namespace

std::vector<Problem> synthetic_problems() {
  return {
      problem("branin2", 2, 0, 1, branin),
      problem("hartmann6", 6, 0, 1, hartmann6),
      problem("ackley5", 5, -32.768, 32.768, ackley(1, 5)),
      problem("ackley10", 10, -32.768, 32.768, ackley(2, 10)),
      problem("rosenbrock4", 4, -2.048, 2.048, rosenbrock),
      problem("rosenbrock8", 8, -2.048, 2.048, rosenbrock),
      problem("levy6", 6, -10, 10, levy),
      problem("rastrigin4", 4, -5.12, 5.12, rastrigin(3, 4)),
      problem("ellipsoid6", 6, -5, 5, ellipsoid(4, 6)),
      problem("styblinski6", 6, -5, 5, styblinski),
      problem("sharpridge5", 5, -5, 5, sharp_ridge(5, 5)),
      problem("gallagher5", 5, -5, 5, gallagher(6, 5)),
  };
}

std::vector<Problem> development_problems() {
  return {
      problem("ackley7", 7, -32.768, 32.768, ackley(21, 7)),
      problem("levy4", 4, -10, 10, levy),
      problem("rastrigin6", 6, -5.12, 5.12, rastrigin(23, 6)),
      problem("ellipsoid4", 4, -5, 5, ellipsoid(24, 4)),
      problem("ellipsoid8", 8, -5, 5, ellipsoid(25, 8)),
      problem("sharpridge8", 8, -5, 5, sharp_ridge(26, 8)),
      problem("gallagher3", 3, -5, 5, gallagher(27, 3)),
      problem("gallagher8", 8, -5, 5, gallagher(28, 8)),
      problem("rosenbrock6", 6, -2.048, 2.048, rosenbrock),
      problem("styblinski4", 4, -5, 5, styblinski),
  };
}

}  // namespace muster::benchmarks
