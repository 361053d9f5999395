/// Space: what a sweep searches: numbers and lists, conditions on them, forbidden combinations,
/// priors and starting points. Immutable once parsed, so every const call is safe from any thread.
/// The grammar is in the documentation, "The search space".
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/base/random.h"

namespace muster::hpo {

/// A line of the sweep's file: an entry of [search], or (key "forbid", "start") of [tune]. `place`
/// is "sweep.ini:12", for messages.
struct SpaceLine {
  std::string key;
  std::string text;
  std::string place;
};

/// A configuration: a number a parameter, in the space's order. A number's own value, a list's
/// position, NaN where it is inactive. Words (what programs see) come from Space::word.
struct Config {
  std::vector<double> values;
  bool operator==(const Config& other) const;  ///< inactive equals inactive
};

enum class Kind { constant, choice, order, number };
enum class Scale { linear, log, revlog, logit };
/// What the words of a list are as JSON: numbers when all are, booleans when all are true/false,
/// else text.
enum class JsonKind { number, boolean, text };

/// One comparison of a condition. Values of lists are kept as positions.
struct Test {
  enum class Op { equal, unequal, less, at_most, greater, at_least, in };
  std::size_t parameter = 0;
  Op op = Op::equal;
  std::vector<double> values;
};
using Condition = std::vector<Test>;  ///< all must hold; empty holds

struct Parameter {
  std::string key;
  Kind kind = Kind::number;
  Scale scale = Scale::linear;
  bool is_int = false;
  double low = 0.0, high = 0.0;
  double step = 0.0;               ///< 0: none
  std::size_t points = 0;          ///< as asked for; 0: none
  std::vector<std::string> words;  ///< lists and constants: the values, byte for byte
  std::vector<double> levels;      ///< numbers with few values (`points`): those values, ascending
  std::vector<double> prior;  ///< numbers: centre and spread, both encoded; lists: weights that sum
                              ///< to 1; empty: none
  Condition condition;        ///< active where it holds
  JsonKind json = JsonKind::text;

  /// How many values it takes; nothing for a range of floats.
  std::optional<std::uint64_t> count() const;
  double value_at(std::uint64_t index) const;  ///< needs count()
  double encode(double value) const;       ///< to [0, 1]; values sit in the middle of their cells
  double decode(double coordinate) const;  ///< from anywhere; the nearest value it takes
  double on_scale(double value) const;     ///< ln x for log, and so on
  double off_scale(double scaled) const;
  double shaped(
      double uniform) const;  ///< a uniform number turned into one with the prior's density
  double log_density(double coordinate) const;  ///< ln of the prior's density there; 0 without one
  void set_edges();                             ///< once the range is known
  void set_levels(std::size_t points);
  double low_edge = 0.0, high_edge = 1.0;  ///< what the coordinates 0 and 1 stand for, on the scale
};

class Space {
 public:
  using Params = std::vector<std::pair<std::string, std::string>>;  ///< key and word

  /// Throws one Error(bad_input): the place, the line, a caret under the word, what is wrong and
  /// what would be right.
  static Space parse(std::span<const SpaceLine> search, std::span<const SpaceLine> forbid = {},
                     std::span<const SpaceLine> start = {});

  std::size_t size() const { return parameters_.size(); }
  const Parameter& operator[](std::size_t parameter) const { return parameters_[parameter]; }
  std::optional<std::size_t> find(std::string_view key) const;

  // Words.
  std::string word(std::size_t parameter, double value) const;
  /// Throws Error(bad_input) where the word is no value of the parameter. A number may lie between
  /// steps (data of other sweeps do).
  double read(std::size_t parameter, std::string_view word) const;
  Params params(const Config& config) const;  ///< active ones, in the order of the space
  /// From a full set of words; throws Error(bad_input) on unknown, missing and inactive keys, and
  /// on values that do not fit.
  Config config(const Params& params) const;
  /// From some of the words; the rest is drawn. Throws where the words contradict conditions or
  /// `forbid`.
  Config complete(const Params& params, Random& random) const;
  const std::vector<Params>& starts() const { return starts_; }  ///< tune.start, checked

  // Coordinates. One a parameter that takes more than one value, in the order of the space.
  std::size_t dimensions() const { return searched_.size(); }
  const std::vector<std::size_t>& searched() const {
    return searched_;
  }                                                        ///< the parameter of each coordinate
  std::vector<double> encode(const Config& config) const;  ///< NaN where inactive
  Config decode(
      std::span<const double> coordinates) const;  ///< conditions applied; may be forbidden
  bool allows(const Config& config) const;         ///< no `forbid` holds
  bool has_conditions() const { return has_conditions_; }
  bool has_priors() const { return has_priors_; }
  /// ln of the prior density at coordinates (uniform: 0), for searchers that weigh by it.
  double log_prior(std::span<const double> coordinates) const;

  /// A draw from the priors, allowed. Throws Error(bad_input) when 10,000 draws in a row are
  /// forbidden.
  Config sample(Random& random) const;
  /// Uniform numbers in [0, 1) turned into a draw from the priors (Sobol points use this); may be
  /// forbidden.
  Config shape(std::span<const double> uniform) const;

  /// The number of distinct configurations, conditions and `forbid` counted; nothing when infinite
  /// or past 10^7 to look through.
  std::optional<std::uint64_t> cardinality() const;
  std::uint64_t hash(
      const Config& config) const;  ///< equal configurations, equal hashes, on every machine
  std::string text() const;         ///< the space in canonical words: equal spaces, equal text

 private:
  friend class SpaceReader;
  bool holds(const Condition& condition, const Config& config) const;
  void deactivate(Config& config) const;
  Config given(const Params& params) const;                     // NaN where not given
  Config unconditioned(std::span<const double> uniform) const;  // conditions not yet applied
  std::uint64_t count_distinct(const std::vector<std::size_t>& bound, std::uint64_t product) const;

  std::vector<Parameter> parameters_;
  std::vector<std::size_t> searched_;
  std::vector<std::size_t> order_;  // parents before children
  std::vector<Condition> forbidden_;
  std::vector<Params> starts_;
  bool has_conditions_ = false;
  bool has_priors_ = false;
};

}  // namespace muster::hpo
