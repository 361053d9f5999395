/// tuner_latency N [ASKS]: N random observations of a function of ten numbers, then ASKS (30) times
/// ask and tell; prints the mean, the median and the largest time of ask and tell together, in
/// seconds. latency.py runs it between runs of Optuna's sampler.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <numeric>

#include "hpo/searcher.h"
#include "runtime/base/random.h"

namespace {

using namespace muster;

/// The same function as in latency.py: a bowl with waves.
double value_of(const hpo::Config& config) {
  double sum = 0.0;
  for (double x : config.values) {
    sum += (x - 0.4) * (x - 0.4) + 0.05 * std::sin(15.0 * x);
  }
  return sum;
}

}  // namespace

int main(int count, char** arguments) {
  const long known = count > 1 ? std::atol(arguments[1]) : 100;
  const long asks = count > 2 ? std::atol(arguments[2]) : 30;
  std::vector<hpo::SpaceLine> search;
  for (int i = 0; i < 10; ++i) {
    search.push_back({"x" + std::to_string(i), "linear 0 1", "latency"});
  }
  const hpo::Space space = hpo::Space::parse(search);
  const auto searcher = hpo::make_searcher("bayesian", space, {.seed = 1});
  hpo::History history;
  Random random(7, 0);
  for (long i = 0; i < known; ++i) {
    const hpo::Config config = space.sample(random);
    history.append({.trial = static_cast<std::uint64_t>(i),
                    .config = config,
                    .resource = 0,
                    .value = value_of(config),
                    .failed = false});
  }
  std::vector<double> seconds;
  for (long i = -1; i < asks;
       ++i) {  // the first ask is the cold one, and does not count for either side
    const auto start = std::chrono::steady_clock::now();
    const auto proposal = searcher->propose({.number = static_cast<std::uint64_t>(known + i + 1),
                                             .history = &history,
                                             .seen = history.size(),
                                             .seen_before = history.size() - 1,
                                             .pending = {}});
    history.append({.trial = history.size(),
                    .config = proposal->config,
                    .resource = 0,
                    .value = value_of(proposal->config),
                    .failed = false});
    if (i >= 0) {
      seconds.push_back(
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
  }
  const double mean =
      std::accumulate(seconds.begin(), seconds.end(), 0.0) / static_cast<double>(seconds.size());
  std::ranges::sort(seconds);
  std::printf("%.6f %.6f %.6f\n", mean, seconds[seconds.size() / 2], seconds.back());
  return 0;
}
