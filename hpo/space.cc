// SPDX-License-Identifier: Apache-2.0
#include "hpo/space.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "hpo/normal.h"
#include "hpo/space_reader.h"
#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster::hpo {
namespace {

constexpr double inactive = std::numeric_limits<double>::quiet_NaN();
constexpr std::uint64_t most_enumerated = 10'000'000;

/// A word as it stands in a file.
std::string quoted(const std::string& word) {
  const bool is_keyword = word == "if" || word == "prior" || word == "and" || word == "in";
  if (!word.empty() && !is_keyword && word.find_first_of(" \t\r\n\"{}#=\\") == std::string::npos) {
    return word;
  }
  std::string result = "\"";
  for (const char c : word) {
    constexpr std::string_view digits = "0123456789abcdef";
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || c == '#') {
      result += std::string("\\x") + digits[byte / 16] + digits[byte % 16];
    } else {
      result += c == '"' || c == '\\' ? std::string("\\") + c : std::string(1, c);
    }
  }
  return result + '"';
}

std::string test_text(const Space& space, const Test& test) {
  static constexpr std::string_view names[] = {"==", "!=", "<", "<=", ">", ">=", "in"};
  std::string text =
      space[test.parameter].key + " " + std::string(names[static_cast<int>(test.op)]);
  const auto value = [&](double x) {
    return space[test.parameter].kind == Kind::number
               ? exact(x)
               : quoted(space[test.parameter].words[static_cast<std::size_t>(x)]);
  };
  if (test.op != Test::Op::in) {
    return text + " " + value(test.values.front());
  }
  text += " {";
  for (double x : test.values) {
    text += " " + value(x);
  }
  return text + " }";
}

std::string condition_text(const Space& space, const Condition& condition) {
  std::string text;
  for (const Test& test : condition) {
    text += (text.empty() ? "" : " and ") + test_text(space, test);
  }
  return text;
}

std::string domain_text(const Parameter& parameter) {
  static constexpr std::string_view scales[] = {"linear", "log", "revlog", "logit"};
  if (parameter.kind == Kind::number) {
    std::string text = std::string(parameter.is_int ? "int " : "float ") +
                       std::string(scales[static_cast<int>(parameter.scale)]) + " " +
                       exact(parameter.low) + " " + exact(parameter.high);
    text += parameter.step > 0 ? " step " + exact(parameter.step) : "";
    return text + (parameter.points > 0 ? " points " + std::to_string(parameter.points) : "");
  }
  std::string text = parameter.kind == Kind::constant ? "const"
                     : parameter.kind == Kind::order  ? "order"
                                                      : "choice";
  for (const std::string& word : parameter.words) {
    text += " " + quoted(word);
  }
  return text;
}

std::string prior_text(const Parameter& parameter) {
  if (parameter.prior.empty()) {
    return "";
  }
  std::string text = " prior";
  for (std::size_t i = 0; i < parameter.prior.size(); ++i) {
    const bool is_centre = parameter.kind == Kind::number && i == 0;
    text += " " + exact(is_centre ? parameter.decode(parameter.prior[0]) : parameter.prior[i]);
  }
  return text;
}

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

/// A uniform number turned into one with the density of a prior.
double shaped(const Parameter& parameter, double uniform) {
  if (parameter.prior.empty()) {
    return uniform;
  }
  if (parameter.kind == Kind::number) {
    const double below = normal_share((0.0 - parameter.prior[0]) / parameter.prior[1]);
    const double above = normal_share((1.0 - parameter.prior[0]) / parameter.prior[1]);
    return std::clamp(parameter.prior[0] +
                          parameter.prior[1] * normal_quantile(below + uniform * (above - below)),
                      0.0, 1.0);
  }
  std::size_t index = 0;
  double left = uniform;
  while (index + 1 < parameter.prior.size() && left >= parameter.prior[index]) {
    left -= parameter.prior[index++];
  }
  while (parameter.prior[index] == 0.0) {
    --index;  // rounding must not draw what has no weight
  }
  return parameter.encode(static_cast<double>(index));
}

double log_density(const Parameter& parameter, double coordinate) {
  if (parameter.prior.empty()) {
    return 0.0;
  }
  if (parameter.kind != Kind::number) {
    const double weight = parameter.prior[static_cast<std::size_t>(parameter.decode(coordinate))];
    return std::log(std::max(weight, 1e-12) * static_cast<double>(parameter.words.size()));
  }
  const double below = normal_share((0.0 - parameter.prior[0]) / parameter.prior[1]);
  const double above = normal_share((1.0 - parameter.prior[0]) / parameter.prior[1]);
  const double z = (coordinate - parameter.prior[0]) / parameter.prior[1];
  return -0.5 * z * z - std::log(parameter.prior[1] * (above - below) * 2.5066282746310002);
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
    config.values[i] = is_searched ? parameters_[i].decode(shaped(parameters_[i], uniform[k]))
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
    sum +=
        std::isnan(coordinates[k]) ? 0.0 : log_density(parameters_[searched_[k]], coordinates[k]);
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
  std::ranges::for_each(forbidden_, bind);
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

std::uint64_t Space::hash(const Config& config) const {
  std::uint64_t hash = 0x6d7573746572ULL;
  for (const double value : config.values) {
    hash = mix(hash, std::isnan(value) ? 0x7ff8000000000000ULL
                                       : std::bit_cast<std::uint64_t>(value + 0.0));
  }
  return hash;
}

std::string Space::text() const {
  std::string text;
  for (const Parameter& parameter : parameters_) {
    text += parameter.key + " = " + domain_text(parameter) + prior_text(parameter);
    text += parameter.condition.empty()
                ? "\n"
                : " if " + condition_text(*this, parameter.condition) + "\n";
  }
  for (const Condition& condition : forbidden_) {
    text += "forbid = " + condition_text(*this, condition) + "\n";
  }
  return text;
}

}  // namespace muster::hpo
