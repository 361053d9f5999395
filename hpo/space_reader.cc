// SPDX-License-Identifier: Apache-2.0
#include "hpo/space_reader.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster::hpo {
namespace {

constexpr std::string_view not_in_keys = "=#\"{}[]";

std::optional<Test::Op> op_of(std::string_view word) {
  constexpr std::array<std::string_view, 7> names{"==", "!=", "<", "<=", ">", ">=", "in"};
  const auto* const found = std::ranges::find(names, word);
  if (found == names.end()) {
    return std::nullopt;
  }
  return static_cast<Test::Op>(found - names.begin());
}

}  // namespace

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
