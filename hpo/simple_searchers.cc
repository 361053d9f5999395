// SPDX-License-Identifier: Apache-2.0
#include "hpo/simple_searchers.h"

#include <cmath>

#include "runtime/base/error.h"

namespace muster::hpo {
namespace {

void refuse_state(std::string_view state, const char* who) {
  if (!state.empty()) {
    throw Error(Fault::bad_input,
                std::string(who) + " keeps no state: the journal was written by another searcher");
  }
}

}  // namespace

std::optional<Proposal> RandomSearcher::propose(const Question& question) {
  Random random(mix(seed_, 0x5a4d), question.number);
  return Proposal{space_.sample(random), "random", question.seen, {}, {}};
}

void RandomSearcher::restore(std::string_view state) {
  refuse_state(state, "random search");
}

Config SobolSearcher::point(std::uint64_t number) const {
  constexpr std::uint64_t far = std::uint64_t{1} << 30;
  constexpr std::uint64_t attempts = 64;
  for (std::uint64_t attempt = 0; attempt < attempts; ++attempt) {
    const std::uint64_t index = attempt == 0 ? number : far + number * attempts + attempt;
    Config config = space_.shape(points_.at(index));
    if (space_.allows(config)) {
      return config;
    }
  }
  Random random(mix(seed_, 0x50b01), number);
  return space_.sample(random);
}

std::optional<Proposal> SobolSearcher::propose(const Question& question) {
  return Proposal{point(question.number), "sobol", question.seen, {}, {}};
}

void SobolSearcher::restore(std::string_view state) {
  refuse_state(state, "Sobol search");
}

GridSearcher::GridSearcher(const Space& space) : space_(space) {
  for (const std::size_t i : space.searched()) {
    const std::optional<std::uint64_t> count = space[i].count();
    if (!count) {
      throw Error(Fault::bad_input, "a grid needs a finite number of values for '" + space[i].key +
                                        "': add 'step X' or 'points N' to its range, or list them");
    }
    if (static_cast<double>(product_) * static_cast<double>(*count) > 1e15) {
      throw Error(Fault::bad_input,
                  "this grid has more than 10^15 points; take fewer 'points', or another searcher");
    }
    counts_.push_back(*count);
    product_ *= *count;
  }
}

bool GridSearcher::is_wanted(std::uint64_t place, Config& config) const {
  std::vector<double> coordinates(counts_.size());
  std::vector<std::uint64_t> digits(counts_.size());
  for (std::size_t k = counts_.size(); k-- > 0; place /= counts_[k]) {
    const Parameter& parameter = space_[space_.searched()[k]];
    digits[k] = place % counts_[k];
    coordinates[k] = parameter.encode(parameter.value_at(digits[k]));
  }
  config = space_.decode(coordinates);
  for (std::size_t k = 0; k < digits.size(); ++k) {
    if (digits[k] > 0 && std::isnan(config.values[space_.searched()[k]])) {
      return false;
    }
  }
  return space_.allows(config);
}

std::optional<Proposal> GridSearcher::propose(const Question& question) {
  Config config;
  while (places_.size() <= question.number && next_ < product_) {
    if (is_wanted(next_, config)) {
      places_.push_back(next_);
    }
    ++next_;
  }
  if (places_.size() <= question.number) {
    return std::nullopt;
  }
  is_wanted(places_[question.number], config);
  return Proposal{std::move(config), "grid", question.seen, {}, {}};
}

void GridSearcher::restore(std::string_view state) {
  refuse_state(state, "grid search");
}

}  // namespace muster::hpo
