/// tuner_quality OUT.csv [--data lcbench.h5] [--seeds 20] [--trials 100] [--method bayesian]
/// [--acquisition ucb|logei] [--name muster] [--set judged|development] [--plugin functions.so]
/// [--from 0]: runs Muster's
/// searcher on the benchmark problems, one trial after the other, and writes rows as peers.py does:
/// method, problem, seed, seconds spent in the searcher, value 1 .. value n. compare.py reads both.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <map>

#include "benchmarks/tuner/problems.h"
#include "hpo/searcher.h"
#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace {

using namespace muster;
using namespace muster::benchmarks;
using Seconds = std::chrono::duration<double>;

struct Run {
  double seconds = 0.0;
  std::vector<double> values;
};

Run run(const Problem& problem, const std::string& method, hpo::SearcherOptions options,
        std::size_t trials) {
  const hpo::Space space = hpo::Space::parse(problem.search);
  const std::unique_ptr<hpo::Searcher> searcher = hpo::make_searcher(method, space, options);
  hpo::History history;
  Run result;
  std::size_t before = 0;
  for (std::size_t trial = 0; trial < trials; ++trial) {
    const auto start = std::chrono::steady_clock::now();
    const std::optional<hpo::Proposal> proposal = searcher->propose({.number = trial,
                                                                     .history = &history,
                                                                     .seen = history.size(),
                                                                     .seen_before = before,
                                                                     .pending = {}});
    result.seconds += Seconds(std::chrono::steady_clock::now() - start).count();
    before = history.size();
    const Outcome outcome = problem.evaluate(proposal->config.values, problem.max_resource);
    result.values.push_back(outcome.value);
    history.append({.trial = trial,
                    .config = proposal->config,
                    .resource = 0.0,
                    .value = outcome.value,
                    .failed = false});
  }
  return result;
}

void bench(const std::string& out, const std::map<std::string, std::string>& options) {
  const auto option = [&](const char* name, const char* otherwise) {
    return options.contains(name) ? options.at(name) : std::string(otherwise);
  };
  std::vector<Problem> problems =
      option("--set", "judged") == "development" ? development_problems() : synthetic_problems();
  if (options.contains("--plugin")) {
    problems = plugin_problems(options.at("--plugin"));
  }
  if (options.contains("--data")) {
    std::ranges::move(lcbench_problems(options.at("--data")), std::back_inserter(problems));
  }
  std::ofstream file(out);
  const auto seeds = static_cast<std::uint64_t>(parse_int(option("--seeds", "20")).value_or(20));
  const auto trials = static_cast<std::size_t>(parse_int(option("--trials", "100")).value_or(100));
  const auto from = static_cast<std::uint64_t>(parse_int(option("--from", "0")).value_or(0));
  for (std::uint64_t seed = from; seed < from + seeds; ++seed) {
    for (const Problem& problem : problems) {
      hpo::SearcherOptions searcher{.seed = seed};
      searcher.acquisition = option("--acquisition", "ucb") == "logei" ? hpo::Acquisition::logei
                                                                       : hpo::Acquisition::ucb;
      const Run result = run(problem, option("--method", "bayesian"), searcher, trials);
      file << option("--name", "muster") << ',' << problem.name << ',' << seed << ','
           << result.seconds;
      for (double value : result.values) {
        file << ',' << exact(value);
      }
      file << '\n' << std::flush;
    }
  }
}

}  // namespace

int main(int count, char** arguments) {
  try {
    if (count < 2 || count % 2 != 0) {
      throw Error(Fault::bad_input,
                  "usage: tuner_quality OUT.csv [--data lcbench.h5] [--seeds n] [--trials n] "
                  "[--method m] [--acquisition a] [--name n] [--set s] [--plugin functions.so] "
                  "[--from seed]");
    }
    std::map<std::string, std::string> options;
    for (int i = 2; i + 1 < count; i += 2) {
      options[arguments[i]] = arguments[i + 1];
    }
    bench(arguments[1], options);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", report(error).c_str());
    return exit_code_of(error);
  }
}
