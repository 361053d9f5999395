// SPDX-License-Identifier: Apache-2.0
#include "hpo/space_reader.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster::hpo {
namespace {

constexpr double most_whole = 9007199254740992.0;  // 2^53: beyond, a double skips whole numbers
constexpr std::string_view not_in_keys = "=#\"{}[]";

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}
bool is_whole(double x) {
  return std::floor(x) == x && std::abs(x) <= most_whole;
}

std::string did_you_mean(std::string_view word, std::span<const std::string> known) {
  const std::optional<std::string> near = nearest(word, known);
  return near ? "; did you mean '" + *near + "'?" : "";
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

std::optional<Test::Op> op_of(std::string_view word) {
  constexpr std::array<std::string_view, 7> names{"==", "!=", "<", "<=", ">", ">=", "in"};
  const auto* const found = std::ranges::find(names, word);
  if (found == names.end()) {
    return std::nullopt;
  }
  return static_cast<Test::Op>(found - names.begin());
}

}  // namespace

SpaceWords::SpaceWords(const SpaceLine& line, bool splits_at_equals) : line_(line) {
  cut(splits_at_equals);
}

SpaceWords::Word SpaceWords::cut_quoted(std::size_t& at) const {
  const std::string& text = line_.text;
  Word word{.text = {}, .offset = at, .length = 1, .is_quoted = true, .is_brace = false};
  for (++at; at < text.size() && text[at] != '"'; ++at) {
    if (text[at] != '\\') {
      word.text += text[at];
      continue;
    }
    if (++at == text.size()) {
      break;
    }
    if (text[at] == 'x') {
      const std::string digits = text.substr(at + 1, 2);
      const bool is_hex = digits.size() == 2 && std::ranges::all_of(digits, [](unsigned char c) {
                            return std::isxdigit(c) != 0;
                          });
      if (!is_hex) {
        fail(at - 1, 2, "\\x wants two hexadecimal digits, as in \\x23");
      }
      word.text += static_cast<char>(std::stoi(digits, nullptr, 16));
      at += 2;
    } else {
      word.text += text[at];
    }
  }
  if (at >= text.size()) {
    fail(word.offset, 1, "this quote is never closed");
  }
  ++at;
  word.length = at - word.offset;
  return word;
}

void SpaceWords::cut(bool splits_at_equals) {
  const std::string& text = line_.text;
  for (std::size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (is_blank(c)) {
      ++at;
    } else if (c == '"') {
      words_.push_back(cut_quoted(at));
    } else if (c == '{' || c == '}' || (splits_at_equals && c == '=')) {
      words_.push_back({std::string(1, c), at, 1, false, true});
      ++at;
    } else {
      const std::size_t from = at;
      while (at < text.size() && !is_blank(text[at]) && text[at] != '{' && text[at] != '}' &&
             !(splits_at_equals && text[at] == '=')) {
        if (text[at] == '"' || text[at] == '#') {
          fail(at, 1,
               std::string("a word with ") + text[at] + " in it must stand in quotes" +
                   (text[at] == '#' ? ", written \\x23" : ""));
        }
        ++at;
      }
      words_.push_back({text.substr(from, at - from), from, at - from, false, false});
    }
  }
}

bool SpaceWords::at(std::string_view keyword) const {
  return !at_end() && !words_[next_].is_quoted && words_[next_].text == keyword;
}

bool SpaceWords::take_if(std::string_view keyword) {
  const bool is_there = at(keyword);
  next_ += is_there ? 1 : 0;
  return is_there;
}

const SpaceWords::Word& SpaceWords::take(std::string_view wanted) {
  if (at_end() || words_[next_].is_brace) {
    fail_here("expected " + std::string(wanted));
  }
  return words_[next_++];
}

double SpaceWords::take_number(std::string_view wanted) {
  const Word& word = take(wanted);
  const std::optional<double> number = parse_double(word.text);
  if (!number || !std::isfinite(*number)) {
    fail_at(word, "expected " + std::string(wanted) + ", a number, not '" + word.text + "'");
  }
  return *number + 0.0;  // -0 becomes 0
}

void SpaceWords::fail(std::size_t column, std::size_t length, const std::string& message) const {
  const std::string head = "  " + line_.key + " = ";
  throw Error(Fault::bad_input, line_.place + ": " + message + "\n" + head + line_.text + "\n" +
                                    std::string(head.size() + column, ' ') + "^" +
                                    std::string(std::max<std::size_t>(length, 1) - 1, '~'));
}

void SpaceWords::fail_here(const std::string& message) const {
  if (at_end()) {
    fail(line_.text.size() + (line_.text.empty() ? 0 : 1), 1,
         message + (words_.empty() ? "" : " after this"));
  }
  fail_at(words_[next_], message + ", not '" + words_[next_].text + "'");
}

void SpaceWords::fail_at(const Word& word, const std::string& message) const {
  fail(word.offset, word.length, message);
}

void SpaceWords::fail_key(const std::string& message) const {
  throw Error(Fault::bad_input,
              line_.place + ": " + message + "\n  " + line_.key + " = " + line_.text + "\n  ^" +
                  std::string(std::max<std::size_t>(line_.key.size(), 1) - 1, '~'));
}

Space SpaceReader::read(std::span<const SpaceLine> search, std::span<const SpaceLine> forbid,
                        std::span<const SpaceLine> start) {
  std::vector<SpaceWords> rests;
  rests.reserve(search.size());
  for (const SpaceLine& line : search) {
    rests.push_back(read_entry(line));
  }
  for (std::size_t i = 0; i < rests.size(); ++i) {  // a condition may name a key of a later line
    if (rests[i].take_if("if")) {
      space_.parameters_[i].condition = read_condition(rests[i]);
      space_.has_conditions_ = true;
    }
  }
  sort(rests);
  for (std::size_t i = 0; i < space_.size(); ++i) {
    if (space_[i].count() != std::uint64_t{1}) {
      space_.searched_.push_back(i);
    }
    space_.has_priors_ = space_.has_priors_ || !space_[i].prior.empty();
  }
  for (const SpaceLine& line : forbid) {
    SpaceWords words(line);
    space_.forbidden_.push_back(read_condition(words));
  }
  for (const SpaceLine& line : start) {
    read_start(line);
  }
  return std::move(space_);
}

SpaceWords SpaceReader::read_entry(const SpaceLine& line) {
  SpaceWords words(line);
  const bool is_key = !line.key.empty() && std::ranges::none_of(line.key, is_blank) &&
                      line.key.find_first_of(not_in_keys) == std::string::npos;
  if (!is_key) {
    words.fail_key("a key is one word without blanks and without = # \" { } [ ]");
  }
  if (space_.find(line.key)) {
    words.fail_key("'" + line.key + "' stands in the search space twice");
  }
  Parameter parameter;
  parameter.key = line.key;
  read_domain(words, parameter);
  if (words.take_if("prior")) {
    read_prior(words, parameter);
  }
  if (!words.at_end() && !words.at("if")) {
    words.fail_here("expected 'if', 'prior' or the end of the line");
  }
  space_.parameters_.push_back(std::move(parameter));
  return words;
}

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

Condition SpaceReader::read_condition(SpaceWords& words) {
  Condition condition;
  do {
    condition.push_back(read_test(words));
  } while (words.take_if("and"));
  if (!words.at_end()) {
    words.fail_here("expected 'and' or the end of the line");
  }
  return condition;
}

Test SpaceReader::read_test(SpaceWords& words) {
  const SpaceWords::Word key = words.take("a key of [search]");
  Test test;
  test.parameter = known(words, key);
  const SpaceWords::Word op = words.take("==, !=, <, <=, >, >= or in");
  const std::optional<Test::Op> read = op_of(op.text);
  if (!read || op.is_quoted) {
    words.fail_at(op, "expected ==, !=, <, <=, >, >= or in, not '" + op.text + "'");
  }
  test.op = *read;
  const bool is_list =
      space_[test.parameter].kind == Kind::choice || space_[test.parameter].kind == Kind::constant;
  const bool orders =
      test.op != Test::Op::equal && test.op != Test::Op::unequal && test.op != Test::Op::in;
  if (orders && is_list) {
    words.fail_at(
        op, "'" + op.text + "' needs a number or an order, and '" + key.text + "' is neither");
  }
  if (test.op != Test::Op::in) {
    test.values.push_back(read_value(words, test.parameter));
    return test;
  }
  if (!words.take_if("{")) {
    words.fail_here("expected '{' and the values");
  }
  while (!words.take_if("}")) {
    test.values.push_back(read_value(words, test.parameter));
  }
  if (test.values.empty()) {
    words.fail_at(words.last(), "no value stands between the braces");
  }
  return test;
}

double SpaceReader::read_value(SpaceWords& words, std::size_t parameter) {
  const SpaceWords::Word word = words.take("a value");
  const Parameter& of = space_[parameter];
  if (of.kind == Kind::number) {
    const std::optional<double> number = parse_double(word.text);
    if (!number || !std::isfinite(*number)) {
      words.fail_at(word, "'" + of.key + "' is a number, and '" + word.text + "' is none");
    }
    return *number + 0.0;
  }
  const auto found = std::ranges::find(of.words, word.text);
  if (found == of.words.end()) {
    words.fail_at(word, "'" + word.text + "' is no value of '" + of.key + "' (" +
                            join(of.words, ", ") + ")" + did_you_mean(word.text, of.words));
  }
  return static_cast<double>(found - of.words.begin());
}

std::size_t SpaceReader::known(const SpaceWords& words, const SpaceWords::Word& key) const {
  const std::optional<std::size_t> found = space_.find(key.text);
  if (!found) {
    std::vector<std::string> keys;
    for (const Parameter& parameter : space_.parameters_) {
      keys.push_back(parameter.key);
    }
    words.fail_at(key, "'" + key.text + "' is no key of [search]" + did_you_mean(key.text, keys));
  }
  return *found;
}

void SpaceReader::read_start(const SpaceLine& line) {
  SpaceWords words(line, true);
  Space::Params params;
  while (!words.at_end()) {
    const SpaceWords::Word key = words.take("a key of [search]");
    known(words, key);
    if (std::ranges::count(params, key.text, &Space::Params::value_type::first) > 0) {
      words.fail_at(key, "'" + key.text + "' stands here twice");
    }
    if (!words.take_if("=")) {
      words.fail_here("expected '=' and a value");
    }
    const SpaceWords::Word value = words.take("a value");
    try {
      space_.read(*space_.find(key.text), value.text);
    } catch (const Error& error) {
      words.fail_at(value, error.what());
    }
    params.emplace_back(key.text, value.text);
  }
  if (params.empty()) {
    words.fail_here("expected KEY=VALUE");
  }
  try {
    Random random(0, 0);
    space_.complete(params, random);
  } catch (const Error& error) {
    words.fail_key(error.what());
  }
  space_.starts_.push_back(std::move(params));
}

/// Parents before children, each group in the order of the file; a circle is an error that names
/// its keys.
void SpaceReader::sort(const std::vector<SpaceWords>& lines) {
  std::vector<bool> is_placed(space_.size(), false);
  const auto ready = [&](std::size_t i) {
    return !is_placed[i] && std::ranges::all_of(space_[i].condition, [&](const Test& test) {
      return is_placed[test.parameter];
    });
  };
  while (space_.order_.size() < space_.size()) {
    const std::size_t before = space_.order_.size();
    for (std::size_t i = 0; i < space_.size(); ++i) {
      if (ready(i)) {
        is_placed[i] = true;
        space_.order_.push_back(i);
      }
    }
    if (space_.order_.size() == before) {
      std::size_t at =
          static_cast<std::size_t>(std::ranges::find(is_placed, false) - is_placed.begin());
      std::vector<std::size_t> path;
      while (std::ranges::count(path, at) ==
             0) {  // walking up from an unplaced key must come round
        path.push_back(at);
        at = std::ranges::find_if(space_[at].condition, [&](const Test& test) {
               return !is_placed[test.parameter];
             })->parameter;
      }
      std::string names;
      for (auto i = std::ranges::find(path, at); i != path.end(); ++i) {
        names += space_[*i].key + " -> ";
      }
      lines[at].fail_key("conditions go in a circle: " + names + space_[at].key);
    }
  }
}

}  // namespace muster::hpo
