// SPDX-License-Identifier: Apache-2.0
// What stands to the right of a key: lists, ranges, their grain and their priors.
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "hpo/space_reader.h"
#include "runtime/base/text.h"

namespace muster::hpo {
namespace {

constexpr double most_whole = 9007199254740992.0;  // 2^53: beyond, a double skips whole numbers

bool is_whole(double x) {
  return std::floor(x) == x && std::abs(x) <= most_whole;
}

/// JSON's own number grammar, so that a word can be printed as it is.
bool is_json_number(std::string_view word) {
  std::size_t i = word.starts_with('-') ? 1 : 0;
  const auto digits = [&] {
    const std::size_t from = i;
    while (i < word.size() && word[i] >= '0' && word[i] <= '9') {
      ++i;
    }
    return i - from;
  };
  const std::size_t lead = i;
  const std::size_t whole = digits();
  if (whole == 0 || (whole > 1 && word[lead] == '0')) {
    return false;
  }
  if (i < word.size() && word[i] == '.') {
    ++i;
    if (digits() == 0) {
      return false;
    }
  }
  if (i < word.size() && (word[i] == 'e' || word[i] == 'E')) {
    ++i;
    if (i < word.size() && (word[i] == '+' || word[i] == '-')) {
      ++i;
    }
    if (digits() == 0) {
      return false;
    }
  }
  return i == word.size();
}

JsonKind json_kind(const std::vector<std::string>& words) {
  if (std::ranges::all_of(words, is_json_number)) {
    return JsonKind::number;
  }
  const auto is_boolean = [](const std::string& word) { return word == "true" || word == "false"; };
  return std::ranges::all_of(words, is_boolean) ? JsonKind::boolean : JsonKind::text;
}

std::optional<Scale> scale_of(std::string_view word) {
  constexpr std::array<std::string_view, 4> names{"linear", "log", "revlog", "logit"};
  const auto* const found = std::ranges::find(names, word);
  if (found == names.end()) {
    return std::nullopt;
  }
  return static_cast<Scale>(found - names.begin());
}

}  // namespace

void SpaceReader::read_domain(SpaceWords& words, Parameter& parameter) {
  static const std::vector<std::string> kinds{"const",  "choice", "order",  "int",  "float",
                                              "linear", "log",    "revlog", "logit"};
  if (words.take_if("const")) {
    parameter.kind = Kind::constant;
    parameter.words.push_back(words.take("a value").text);
    parameter.json = json_kind(parameter.words);
  } else if (words.at("choice") || words.at("order")) {
    parameter.kind = words.at("order") ? Kind::order : Kind::choice;
    words.take("a list");
    read_list(words, parameter);
  } else if (words.at("int") || words.at("float") ||
             (!words.at_end() && !words.peek().is_quoted && scale_of(words.peek().text))) {
    read_number(words, parameter);
  } else {
    const SpaceWords::Word& word =
        words.take("choice, order, const, int, float, linear, log, revlog or logit");
    const std::string hint = parse_double(word.text)
                                 ? "; a range of numbers starts with its scale, as in 'linear 0 1'"
                                 : did_you_mean(word.text, kinds);
    words.fail_at(word, "'" + word.text + "' is no domain" + hint);
  }
}

void SpaceReader::read_list(SpaceWords& words, Parameter& parameter) {
  while (!words.at_end() && !words.at("if") && !words.at("prior")) {
    const SpaceWords::Word& word = words.take("a value");
    if (std::ranges::count(parameter.words, word.text) > 0) {
      words.fail_at(word, "'" + word.text + "' stands in the list twice");
    }
    parameter.words.push_back(word.text);
  }
  if (parameter.words.size() < 2) {
    words.fail_here("a list needs two values or more (one value alone is 'const')");
  }
  parameter.json = json_kind(parameter.words);
}

void SpaceReader::read_number(SpaceWords& words, Parameter& parameter) {
  parameter.kind = Kind::number;
  parameter.json = JsonKind::number;
  parameter.is_int = words.take_if("int");
  if (!parameter.is_int) {
    words.take_if("float");
  }
  if (!words.at_end() && !words.peek().is_quoted && scale_of(words.peek().text)) {
    parameter.scale = *scale_of(words.take("a scale").text);
  }
  parameter.low = words.take_number("the lower bound");
  const SpaceWords::Word low = words.last();
  parameter.high = words.take_number("the upper bound");
  const SpaceWords::Word high = words.last();
  const auto needs = [&](bool holds, const SpaceWords::Word& word, const char* message) {
    if (!holds) {
      words.fail_at(word, message);
    }
  };
  needs(!parameter.is_int || is_whole(parameter.low), low,
        "the bounds of an int are whole numbers within +-2^53");
  needs(!parameter.is_int || is_whole(parameter.high), high,
        "the bounds of an int are whole numbers within +-2^53");
  needs(parameter.low <= parameter.high, high, "the upper bound lies below the lower one");
  needs(std::isfinite(parameter.high - parameter.low), high, "the range is too wide for a double");
  needs(parameter.scale != Scale::log || parameter.low > 0, low, "a log range starts above 0");
  needs(parameter.scale != Scale::revlog || (parameter.low >= 0 && parameter.low < 1), low,
        "a revlog range lies in [0, 1)");
  needs(parameter.scale != Scale::revlog || parameter.high < 1, high,
        "a revlog range ends below 1: try 0.999");
  needs(parameter.scale != Scale::logit || parameter.low > 0, low,
        "a logit range lies inside (0, 1)");
  needs(parameter.scale != Scale::logit || parameter.high < 1, high,
        "a logit range lies inside (0, 1)");
  read_grain(words, parameter);
  parameter.set_edges();
}

void SpaceReader::read_grain(SpaceWords& words, Parameter& parameter) {
  const double range = parameter.high - parameter.low;
  if (words.take_if("step")) {
    parameter.step = words.take_number("the step");
    const SpaceWords::Word& word = words.last();
    if (parameter.step <= 0 || (parameter.step > range && range > 0)) {
      words.fail_at(word, "a step lies above 0 and fits into the range");
    }
    if (parameter.is_int && !is_whole(parameter.step)) {
      words.fail_at(word, "the step of an int is a whole number");
    }
    if (range / parameter.step > most_whole) {
      words.fail_at(word, "the step is too small to count the values");
    }
  } else if (words.take_if("points")) {
    const double points = words.take_number("how many points");
    const SpaceWords::Word& word = words.last();
    if (!is_whole(points) || points < 2 || points > 1e6) {
      words.fail_at(word, "points is a whole number from 2 to a million");
    }
    parameter.set_levels(static_cast<std::size_t>(points));
  }
}

void SpaceReader::read_prior(SpaceWords& words, Parameter& parameter) {
  const SpaceWords::Word prior = words.last();
  if (parameter.count() == std::uint64_t{1}) {
    words.fail_at(prior, "a constant has no prior");
  }
  std::vector<double> numbers;
  while (!words.at_end() && !words.at("if")) {
    numbers.push_back(words.take_number(
        parameter.kind == Kind::number ? "the prior's centre or spread" : "a weight"));
    const double number = numbers.back();
    if (parameter.kind == Kind::number && numbers.size() == 1 &&
        (number < parameter.low || number > parameter.high)) {
      words.fail_at(words.last(), "the prior's centre lies outside the range");
    }
    if (parameter.kind == Kind::number && numbers.size() == 2 && number <= 0) {
      words.fail_at(words.last(), "the prior's spread lies above 0 (a share of the range)");
    }
    if (parameter.kind != Kind::number && number < 0) {
      words.fail_at(words.last(), "a weight is not negative");
    }
  }
  if (parameter.kind == Kind::number) {
    if (numbers.empty() || numbers.size() > 2) {
      words.fail_at(
          prior,
          "a prior on a number is its centre and, if wanted, its spread as a share of the range");
    }
    parameter.prior = {parameter.encode(numbers[0]), numbers.size() == 2 ? numbers[1] : 0.25};
    return;
  }
  const double sum = std::accumulate(numbers.begin(), numbers.end(), 0.0);
  if (numbers.size() != parameter.words.size() || !(sum > 0) || !std::isfinite(sum)) {
    words.fail_at(prior, "a prior on a list is one weight for each of its " +
                             std::to_string(parameter.words.size()) + " values, not all 0");
  }
  for (double number : numbers) {
    parameter.prior.push_back(number / sum);
  }
}

}  // namespace muster::hpo
