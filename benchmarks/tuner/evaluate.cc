/// tuner_problems [development] [functions.so] [lcbench.h5]: the benchmark functions for programs
/// in other languages, over pipes. Prints the problems, a line each (name, suite, max resource,
/// then "key:domain" by tabs), an empty line; then answers "NAME RESOURCE x0 x1 .." with "value
/// seconds".
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>
#include <exception>
#include <iostream>
#include <iterator>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "benchmarks/tuner/problems.h"
#include "runtime/base/error.h"

namespace {

using namespace muster;
using namespace muster::benchmarks;

void list(const std::vector<Problem>& problems) {
  for (const Problem& problem : problems) {
    std::printf("%s\t%s\t%d", problem.name.c_str(), problem.suite.c_str(), problem.max_resource);
    for (const hpo::SpaceLine& line : problem.search) {
      std::printf("\t%s:%s", line.key.c_str(), line.text.c_str());
    }
    std::printf("\n");
  }
  std::printf("\n");
  std::fflush(stdout);
}

void answer(const std::vector<Problem>& problems) {
  std::map<std::string, const Problem*> known;
  for (const Problem& problem : problems) {
    known[problem.name] = &problem;
  }
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string name;
    int resource = 0;
    words >> name >> resource;
    std::vector<double> values;
    for (double x = 0; words >> x;) {
      values.push_back(x);
    }
    const auto found = known.find(name);
    if (found == known.end() || values.size() != found->second->search.size()) {
      throw Error(Fault::bad_input, "no such problem, or not its number of values: " + line);
    }
    const Outcome outcome = found->second->evaluate(values, resource);
    std::printf("%.17g %.17g\n", outcome.value, outcome.seconds);
    std::fflush(stdout);
  }
}

/// What the words of the command line name; the judged synthetic functions without any.
std::vector<Problem> problems_of(const std::vector<std::string>& words) {
  std::vector<Problem> problems;
  const auto add = [&](std::vector<Problem> more) {
    std::ranges::move(more, std::back_inserter(problems));
  };
  const bool has_others = std::ranges::any_of(words, [](const std::string& word) {
    return word == "development" || word.ends_with(".so");
  });
  if (!has_others) {
    add(synthetic_problems());
  }
  for (const std::string& word : words) {
    if (word == "development") {
      add(development_problems());
    } else if (word.ends_with(".so")) {
      add(plugin_problems(word));
    } else {
      add(lcbench_problems(word));
      std::fprintf(stderr, "lcbench: worst difference from the file's own answers %.2g\n",
                   lcbench_worst_difference(word));
    }
  }
  return problems;
}

}  // namespace

int main(int count, char** arguments) {
  try {
    const std::vector<Problem> problems = problems_of({arguments + 1, arguments + count});
    list(problems);
    answer(problems);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", report(error).c_str());
    return exit_code_of(error);
  }
}
