// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "hpo/space.h"

namespace muster::hpo {
namespace {

constexpr std::uint64_t most_enumerated = 10'000'000;

}  // namespace

std::optional<std::uint64_t> Space::cardinality() const {
  std::vector<bool> is_bound(
      size(), false);  // takes part in a condition or in forbid: has to be looked through
  const auto bind = [&](const Condition& condition) {
    for (const Test& test : condition) {
      is_bound[test.parameter] = true;
    }
  };
  for (std::size_t i = 0; i < size(); ++i) {
    bind(parameters_[i].condition);
    is_bound[i] = is_bound[i] || !parameters_[i].condition.empty();
  }
  for (const Condition& condition : forbidden_) {
    bind(condition);
  }
  std::vector<std::size_t> bound;
  double free_product = 1.0;
  double bound_product = 1.0;
  for (const std::size_t i : searched_) {
    if (!parameters_[i].count()) {
      return std::nullopt;
    }
    (is_bound[i] ? bound_product : free_product) *= static_cast<double>(*parameters_[i].count());
    if (is_bound[i]) {
      bound.push_back(i);
    }
  }
  if (bound_product > static_cast<double>(most_enumerated) || free_product * bound_product > 9e15) {
    return std::nullopt;
  }
  return static_cast<std::uint64_t>(free_product) *
         count_distinct(bound, static_cast<std::uint64_t>(bound_product));
}

std::uint64_t Space::count_distinct(const std::vector<std::size_t>& bound,
                                    std::uint64_t product) const {
  if (bound.empty()) {
    return 1;
  }
  std::uint64_t distinct = 0;
  const Config base = decode(std::vector<double>(dimensions(), 0.5));
  for (std::uint64_t number = 0; number < product; ++number) {
    Config config = base;
    for (std::size_t i = 0; i < size(); ++i) {
      config.values[i] =
          std::isnan(config.values[i]) ? parameters_[i].value_at(0) : config.values[i];
    }
    std::uint64_t left = number;
    std::vector<std::uint64_t> digits(bound.size());
    for (std::size_t k = 0; k < bound.size(); ++k) {
      const std::uint64_t count = *parameters_[bound[k]].count();
      digits[k] = left % count;
      config.values[bound[k]] = parameters_[bound[k]].value_at(digits[k]);
      left /= count;
    }
    deactivate(config);
    bool is_first = true;  // of all numbers that differ in inactive values only, the one with zeros
                           // there counts
    for (std::size_t k = 0; k < bound.size(); ++k) {
      is_first = is_first && (digits[k] == 0 || !std::isnan(config.values[bound[k]]));
    }
    distinct += is_first && allows(config) ? 1 : 0;
  }
  return distinct;
}

}  // namespace muster::hpo
