// SPDX-License-Identifier: Apache-2.0
#include "hpo/space.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "hpo/space_reader.h"
#include "hpo/space_text.h"
#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster::hpo {
namespace {

constexpr double inactive = std::numeric_limits<double>::quiet_NaN();

bool test_holds(const Test& test, double value) {
  if (std::isnan(value)) {
    return false;
  }
  switch (test.op) {
    case Test::Op::equal:
      return value == test.values.front();
    case Test::Op::unequal:
      return value != test.values.front();
    case Test::Op::less:
      return value < test.values.front();
    case Test::Op::at_most:
      return value <= test.values.front();
    case Test::Op::greater:
      return value > test.values.front();
    case Test::Op::at_least:
      return value >= test.values.front();
    case Test::Op::in:
      return std::ranges::count(test.values, value) > 0;
  }
  return false;
}

}  // namespace

bool Config::operator==(const Config& other) const {
  return std::ranges::equal(values, other.values, [](double a, double b) {
    return a == b || (std::isnan(a) && std::isnan(b));
  });
}

Space Space::parse(std::span<const SpaceLine> search, std::span<const SpaceLine> forbid,
                   std::span<const SpaceLine> start) {
  return SpaceReader().read(search, forbid, start);
}

std::optional<std::size_t> Space::find(std::string_view key) const {
  const auto found = std::ranges::find(parameters_, key, &Parameter::key);
  return found == parameters_.end() ? std::nullopt
                                    : std::optional<std::size_t>(found - parameters_.begin());
}

std::string Space::word(std::size_t parameter, double value) const {
  const Parameter& of = parameters_[parameter];
  return of.kind == Kind::number ? exact(value) : of.words[static_cast<std::size_t>(value)];
}

double Space::read(std::size_t parameter, std::string_view word) const {
  const Parameter& of = parameters_[parameter];
  if (of.kind != Kind::number) {
    const auto found = std::ranges::find(of.words, word);
    if (found == of.words.end()) {
      throw Error(Fault::bad_input, "'" + std::string(word) + "' is no value of '" + of.key +
                                        "' (" + join(of.words, ", ") + ")");
    }
    return static_cast<double>(found - of.words.begin());
  }
  const std::optional<double> number = parse_double(word);
  if (!number || !std::isfinite(*number) || (of.is_int && *number != std::floor(*number))) {
    throw Error(Fault::bad_input, "'" + of.key + "' is " +
                                      (of.is_int ? "a whole number" : "a number") + ", and '" +
                                      std::string(word) + "' is none");
  }
  if (*number < of.low || *number > of.high) {
    throw Error(Fault::bad_input, "'" + of.key + "' lies between " + exact(of.low) + " and " +
                                      exact(of.high) + ", and " + std::string(word) + " does not");
  }
  return *number + 0.0;
}

Space::Params Space::params(const Config& config) const {
  Params params;
  params.reserve(parameters_.size());
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    if (!std::isnan(config.values[i])) {
      params.emplace_back(parameters_[i].key, word(i, config.values[i]));
    }
  }
  return params;
}

Config Space::given(const Params& params) const {
  Config config{std::vector<double>(size(), inactive)};
  for (const auto& [key, word] : params) {
    const std::optional<std::size_t> parameter = find(key);
    if (!parameter) {
      std::vector<std::string> keys;
      std::ranges::transform(parameters_, std::back_inserter(keys), &Parameter::key);
      const std::optional<std::string> near = nearest(key, keys);
      throw Error(Fault::bad_input, "'" + key + "' is no key of [search]" +
                                        (near ? "; did you mean '" + *near + "'?" : ""));
    }
    config.values[*parameter] = read(*parameter, word);
  }
  return config;
}

Config Space::config(const Params& params) const {
  Config config = given(params);
  for (const std::size_t i : order_) {
    const Parameter& parameter = parameters_[i];
    const bool is_given = !std::isnan(config.values[i]);
    if (!holds(parameter.condition, config)) {
      if (is_given) {
        throw Error(Fault::bad_input, "'" + parameter.key + "' is given but inactive: it needs " +
                                          condition_text(*this, parameter.condition));
      }
    } else if (!is_given) {
      if (parameter.count() != std::uint64_t{1}) {
        throw Error(Fault::bad_input, "no value for '" + parameter.key + "'");
      }
      config.values[i] = parameter.value_at(0);
    }
  }
  return config;
}

Config Space::complete(const Params& params, Random& random) const {
  const Config fixed = given(params);
  std::vector<double> uniform(dimensions());
  std::string problem;
  for (int attempt = 0; attempt < 10'000; ++attempt) {
    std::ranges::generate(uniform, [&] { return random.uniform(); });
    Config config = unconditioned(uniform);
    for (std::size_t i = 0; i < size(); ++i) {
      config.values[i] = std::isnan(fixed.values[i]) ? config.values[i] : fixed.values[i];
    }
    deactivate(config);
    problem.clear();
    for (std::size_t i = 0; i < size() && problem.empty(); ++i) {
      if (!std::isnan(fixed.values[i]) && std::isnan(config.values[i])) {
        problem = "'" + parameters_[i].key + "' is given but inactive: it needs " +
                  condition_text(*this, parameters_[i].condition);
      }
    }
    if (problem.empty() && allows(config)) {
      return config;
    }
  }
  throw Error(
      Fault::bad_input,
      problem.empty() ? "every way to complete these values is forbidden by tune.forbid" : problem);
}

std::vector<double> Space::encode(const Config& config) const {
  std::vector<double> coordinates(dimensions());
  for (std::size_t k = 0; k < dimensions(); ++k) {
    const double value = config.values[searched_[k]];
    coordinates[k] = std::isnan(value) ? inactive : parameters_[searched_[k]].encode(value);
  }
  return coordinates;
}

Config Space::decode(std::span<const double> coordinates) const {
  require(coordinates.size() == dimensions(), "Space::decode: one coordinate a searched parameter");
  Config config{std::vector<double>(size())};
  for (std::size_t i = 0; i < size(); ++i) {
    config.values[i] =
        parameters_[i].count() == std::uint64_t{1} ? parameters_[i].value_at(0) : 0.0;
  }
  for (std::size_t k = 0; k < dimensions(); ++k) {
    config.values[searched_[k]] =
        parameters_[searched_[k]].decode(std::isnan(coordinates[k]) ? 0.5 : coordinates[k]);
  }
  deactivate(config);
  return config;
}

Config Space::unconditioned(std::span<const double> uniform) const {
  Config config{std::vector<double>(size())};
  std::size_t k = 0;
  for (std::size_t i = 0; i < size(); ++i) {
    const bool is_searched = k < dimensions() && searched_[k] == i;
    config.values[i] = is_searched ? parameters_[i].decode(parameters_[i].shaped(uniform[k]))
                                   : parameters_[i].value_at(0);
    k += is_searched ? 1 : 0;
  }
  return config;
}

Config Space::shape(std::span<const double> uniform) const {
  require(uniform.size() == dimensions(), "Space::shape: one number a searched parameter");
  Config config = unconditioned(uniform);
  deactivate(config);
  return config;
}

bool Space::holds(const Condition& condition, const Config& config) const {
  return std::ranges::all_of(
      condition, [&](const Test& test) { return test_holds(test, config.values[test.parameter]); });
}

void Space::deactivate(Config& config) const {
  if (!has_conditions_) {
    return;
  }
  for (const std::size_t i : order_) {
    if (!holds(parameters_[i].condition, config)) {
      config.values[i] = inactive;
    }
  }
}

bool Space::allows(const Config& config) const {
  return std::ranges::none_of(forbidden_,
                              [&](const Condition& condition) { return holds(condition, config); });
}

double Space::log_prior(std::span<const double> coordinates) const {
  double sum = 0.0;
  for (std::size_t k = 0; k < dimensions() && has_priors_; ++k) {
    sum += std::isnan(coordinates[k]) ? 0.0 : parameters_[searched_[k]].log_density(coordinates[k]);
  }
  return sum;
}

Config Space::sample(Random& random) const {
  std::vector<double> uniform(dimensions());
  for (int attempt = 0; attempt < 10'000; ++attempt) {
    std::ranges::generate(uniform, [&] { return random.uniform(); });
    Config config = shape(uniform);
    if (allows(config)) {
      return config;
    }
  }
  throw Error(Fault::bad_input,
              "10,000 draws in a row were forbidden: tune.forbid leaves next to nothing of the "
              "search space");
}

std::uint64_t Space::hash(const Config& config) const {
  std::uint64_t hash = 0x6d7573746572ULL;
  for (const double value : config.values) {
    hash = mix(hash, std::isnan(value) ? 0x7ff8000000000000ULL
                                       : std::bit_cast<std::uint64_t>(value + 0.0));
  }
  return hash;
}

}  // namespace muster::hpo
