// SPDX-License-Identifier: Apache-2.0
#include "hpo/space.h"

#include <cmath>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster::hpo {
namespace {

using testing::HasSubstr;

std::vector<SpaceLine> lines(const std::vector<std::pair<std::string, std::string>>& entries) {
  std::vector<SpaceLine> result;
  for (const auto& [key, text] : entries) {
    result.push_back({key, text, "sweep.ini:" + std::to_string(result.size() + 10)});
  }
  return result;
}

Space space_of(const std::vector<std::pair<std::string, std::string>>& search,
               const std::vector<std::string>& forbid = {},
               const std::vector<std::string>& start = {}) {
  std::vector<SpaceLine> forbids;
  for (const std::string& text : forbid) {
    forbids.push_back({"forbid", text, "sweep.ini:90"});
  }
  std::vector<SpaceLine> starts;
  for (const std::string& text : start) {
    starts.push_back({"start", text, "sweep.ini:95"});
  }
  return Space::parse(lines(search), forbids, starts);
}

const std::vector<std::pair<std::string, std::string>> everything{
    {"optimizer.lr", "log 1e-4 1e-1 prior 1e-3 0.2"},
    {"train.batch_size", "choice 32 64 128 prior 1 2 1"},
    {"model.kind", "choice mlp cnn"},
    {"model.depth", "int 1 8 if model.kind == cnn"},
    {"model.kernel", "order 3 5 7 if model.kind == cnn and model.depth >= 3"},
    {"model.width", "int log 16 512 if model.kind in {mlp}"},
    {"momentum", "revlog 0.5 0.999 prior 0.9 0.2"},
    {"dropout", "linear 0 0.5 step 0.05"},
    {"keep", "logit 0.01 0.99"},
    {"decay", "log 1e-6 1e-2 points 5"},
    {"seed", "const 17"},
    {"fixed", "float 2.5 2.5"},
    {"note", "choice \"two words\" \"a\\x23b\" \"say \\\"hi\\\"\""},
    {"even", "int 2 20 step 4"},
};

TEST(Space, EmitsOnlyWhatParsesBackToTheSameValue) {
  const Space space = space_of(everything, {"train.batch_size == 128 and dropout > 0.3"});
  Random random(7, 0);
  for (int i = 0; i < 20'000; ++i) {
    const Config config = space.sample(random);
    const Space::Params params = space.params(config);
    EXPECT_EQ(space.config(params), config);
    for (const auto& [key, word] : params) {
      const std::size_t at = *space.find(key);
      ASSERT_EQ(space.read(at, word), config.values[at]) << key << " " << word;
      ASSERT_EQ(space.word(at, space.read(at, word)), word);
    }
  }
}

/// A random entry of the grammar; earlier keys may be tested.
std::string random_domain(Random& random, std::size_t index,
                          const std::vector<std::pair<std::string, std::string>>& before) {
  const auto number = [&](double low, double high) {
    return exact(low + (high - low) * random.uniform());
  };
  std::string text;
  switch (random.below(9)) {
    case 0:
      text = "linear " + number(-9, 0) + " " + number(1, 9);
      break;
    case 1:
      text = "log " + number(1e-9, 1e-5) + " " + number(1e-4, 1e4);
      break;
    case 2:
      text = "revlog " + number(0, 0.5) + " " + number(0.6, 0.9999);
      break;
    case 3:
      text = "logit " + number(0.0001, 0.5) + " " + number(0.6, 0.9999);
      break;
    case 4:
      text = "int " + std::to_string(static_cast<int>(random.below(9)) - 20) + " " +
             std::to_string(random.below(900));
      break;
    case 5:
      text = "int log " + std::to_string(1 + random.below(9)) + " " +
             std::to_string(10 + random.below(5000));
      break;
    case 6:
      text = "linear " + number(0, 1) + " " + number(2, 3) + " step " + number(0.01, 0.5);
      break;
    case 7:
      text = "log " + number(1e-6, 1e-3) + " " + number(1, 9) + " points " +
             std::to_string(2 + random.below(9));
      break;
    default:
      text = random.below(2) == 0 ? "choice a b c" : "order 1 2 3 4";
  }
  if (index > 0 && random.below(3) == 0) {
    const auto& [key, domain] = before[random.below(before.size())];
    const bool is_list = domain.starts_with("choice");
    text += " if " + key +
            (is_list                       ? " in {a b}"
             : domain.starts_with("order") ? " >= 2"
                                           : " < " + number(0, 3));
  }
  return text;
}

TEST(Space, AMillionRandomConfigurationsSurviveTheGrammar) {
  const std::uint64_t seed = 20261121;
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random random(seed, 1);
  for (int round = 0; round < 1000; ++round) {
    std::vector<std::pair<std::string, std::string>> entries;
    for (std::size_t i = 0; i < 1 + random.below(5); ++i) {
      entries.emplace_back("k" + std::to_string(i), random_domain(random, i, entries));
    }
    const Space space = space_of(entries);
    for (int draw = 0; draw < 1000; ++draw) {
      const Config config = space.sample(random);
      const std::vector<double> coordinates = space.encode(config);
      for (const std::size_t k : space.searched()) {
        const double value = config.values[k];
        if (!std::isnan(value) && space.read(k, space.word(k, value)) != value) {
          FAIL() << entries[k].second << " emits " << space.word(k, value);
        }
      }
      if (space[0].count() && !(space.decode(coordinates) == config)) {
        const Config again = space.decode(coordinates);
        for (std::size_t k = 0; k < space.size(); ++k) {
          ASSERT_TRUE(!space[k].count() || std::isnan(config.values[k]) ||
                      again.values[k] == config.values[k])
              << entries[k].second;
        }
      }
    }
  }
}

TEST(Space, DecodingWhatItEncodedGivesDiscreteValuesBackExactlyAndFloatsNearly) {
  const Space space = space_of(everything);
  Random random(3, 0);
  for (int i = 0; i < 5000; ++i) {
    const Config config = space.sample(random);
    const Config again = space.decode(space.encode(config));
    for (std::size_t k = 0; k < space.size(); ++k) {
      ASSERT_EQ(std::isnan(config.values[k]), std::isnan(again.values[k]));
      if (!std::isnan(config.values[k])) {
        ASSERT_NEAR(again.values[k], config.values[k], space[k].count() ? 0.0 : 1e-9)
            << space[k].key;
      }
    }
  }
}

TEST(Space, ScalesPutTheMiddleWhereTheySay) {
  const Space space = space_of({{"a", "linear 0 10"},
                                {"b", "log 1e-4 1e-2"},
                                {"c", "revlog 0 0.99"},
                                {"d", "logit 0.1 0.9"}});
  const Config middle = space.decode(std::vector<double>(4, 0.5));
  EXPECT_DOUBLE_EQ(middle.values[0], 5.0);
  EXPECT_NEAR(middle.values[1], 1e-3, 1e-15);
  EXPECT_NEAR(middle.values[2], 0.9, 1e-12);  // 1 - x runs from 1 to 0.01: the middle is 0.1
  EXPECT_NEAR(middle.values[3], 0.5, 1e-12);
}

TEST(Space, EndsOfRangesAreReachedExactly) {
  const Space space = space_of({{"a", "log 1e-4 1e-1"},
                                {"b", "revlog 0.5 0.999"},
                                {"c", "logit 0.2 0.7"},
                                {"d", "int 3 9"}});
  EXPECT_EQ(space.params(space.decode(std::vector<double>(4, 0.0))),
            (Space::Params{{"a", "0.0001"}, {"b", "0.5"}, {"c", "0.2"}, {"d", "3"}}));
  EXPECT_EQ(space.decode(std::vector<double>(4, 1.0)).values[3], 9.0);
  EXPECT_LE(space.decode(std::vector<double>(4, 1.0)).values[1], 0.999);
}

TEST(Space, EveryIntegerGetsItsShare) {
  const Space space = space_of({{"n", "int 1 4"}});
  std::array<int, 5> counts{};
  for (int i = 0; i < 4000; ++i) {
    ++counts[static_cast<std::size_t>(
        space.decode(std::vector<double>{(i + 0.5) / 4000}).values[0])];
  }
  EXPECT_EQ(counts, (std::array<int, 5>{0, 1000, 1000, 1000, 1000}));
}

TEST(Space, StepsAndPointsAreValuesThatPeopleWrite) {
  const Space space = space_of({{"a", "linear 0.1 0.5 step 0.1"}, {"b", "log 1e-4 1 points 5"}});
  std::string steps;
  for (std::uint64_t i = 0; i < *space[0].count(); ++i) {
    steps += space.word(0, space[0].value_at(i)) + " ";
  }
  std::string points;
  for (std::uint64_t i = 0; i < *space[1].count(); ++i) {
    points += space.word(1, space[1].value_at(i)) + " ";
  }
  EXPECT_EQ(steps, "0.1 0.2 0.3 0.4 0.5 ");
  EXPECT_EQ(points, "0.0001 0.001 0.01 0.1 1 ");
}

TEST(Space, WordsReachProgramsByteForByte) {
  const Space space =
      space_of({{"a", "choice 1e-3 0.0010 \"x \\x23 y\" \"\""}, {"c", "const 007"}});
  EXPECT_EQ(space[0].words, (std::vector<std::string>{"1e-3", "0.0010", "x # y", ""}));
  EXPECT_EQ(space.params(space.decode(std::vector<double>{0.4})),
            (Space::Params{{"a", "0.0010"}, {"c", "007"}}));
}

TEST(Space, ListsAreNumbersOnlyWhenAllWordsAre) {
  const Space space = space_of({{"a", "choice 1 2.5 -3e4"},
                                {"b", "choice true false"},
                                {"c", "choice 1 none"},
                                {"d", "choice 01 2"}});
  EXPECT_EQ(space[0].json, JsonKind::number);
  EXPECT_EQ(space[1].json, JsonKind::boolean);
  EXPECT_EQ(space[2].json, JsonKind::text);
  EXPECT_EQ(space[3].json, JsonKind::text);
}

TEST(Space, ChildrenLiveAndDieWithTheirConditions) {
  const Space space = space_of(everything);
  Random random(1, 0);
  int kernels = 0;
  for (int i = 0; i < 2000; ++i) {
    const Config config = space.sample(random);
    const bool is_cnn = config.values[*space.find("model.kind")] == 1.0;
    const double depth = config.values[*space.find("model.depth")];
    ASSERT_EQ(std::isnan(depth), !is_cnn);
    ASSERT_EQ(std::isnan(config.values[*space.find("model.width")]), is_cnn);
    ASSERT_EQ(!std::isnan(config.values[*space.find("model.kernel")]), is_cnn && depth >= 3);
    kernels += is_cnn && depth >= 3 ? 1 : 0;
  }
  EXPECT_GT(kernels, 500);
}

TEST(Space, AConditionMayNameALaterKeyAndGrandchildrenFollow) {
  const Space space =
      space_of({{"c", "int 1 3 if b > 1"}, {"b", "int 1 3 if a == on"}, {"a", "choice on off"}});
  const Config off = space.decode(std::vector<double>{0.5, 0.5, 0.9});
  EXPECT_TRUE(std::isnan(off.values[0]));
  EXPECT_TRUE(std::isnan(off.values[1]));
  EXPECT_EQ(*space.cardinality(), 1U + 1U + 2U * 3U);
}

TEST(Space, ForbiddenCombinationsAreNeverDrawn) {
  const Space space =
      space_of({{"a", "choice x y"}, {"b", "int 1 4"}}, {"a == x and b >= 3", "b == 1"});
  Random random(1, 0);
  std::set<std::pair<double, double>> seen;
  for (int i = 0; i < 500; ++i) {
    const Config config = space.sample(random);
    seen.emplace(config.values[0], config.values[1]);
  }
  EXPECT_EQ(seen, (std::set<std::pair<double, double>>{{0, 2}, {1, 2}, {1, 3}, {1, 4}}));
  EXPECT_EQ(*space.cardinality(), 4U);
}

TEST(Space, ASpaceWithNothingAllowedSaysSo) {
  const Space space = space_of({{"a", "int 1 2"}}, {"a >= 1"});
  Random random(1, 0);
  EXPECT_THROW(space.sample(random), Error);
}

TEST(Space, CountsConfigurations) {
  EXPECT_EQ(*space_of({{"a", "int 1 10"}, {"b", "choice x y z"}, {"c", "const 1"}}).cardinality(),
            30U);
  EXPECT_FALSE(space_of({{"a", "linear 0 1"}}).cardinality());
  EXPECT_EQ(*space_of({{"a", "linear 0 1 step 0.25"}}).cardinality(), 5U);
  EXPECT_EQ(*space_of({{"k", "choice m c"}, {"d", "int 1 8 if k == c"}, {"e", "choice p q"}})
                 .cardinality(),
            18U);
}

TEST(Space, PriorsBendTheDraws) {
  const Space space = space_of({{"a", "linear 0 10 prior 8 0.05"}, {"b", "choice x y prior 9 1"}});
  Random random(5, 0);
  double sum = 0;
  int first = 0;
  for (int i = 0; i < 4000; ++i) {
    const Config config = space.sample(random);
    sum += config.values[0];
    first += config.values[1] == 0.0 ? 1 : 0;
  }
  EXPECT_NEAR(sum / 4000, 8.0, 0.05);
  EXPECT_NEAR(first / 4000.0, 0.9, 0.02);
  EXPECT_GT(space.log_prior(std::vector<double>{0.8, 0.25}),
            space.log_prior(std::vector<double>{0.6, 0.25}));
  EXPECT_NEAR(space.log_prior(std::vector<double>{0.8, 0.25}) -
                  space.log_prior(std::vector<double>{0.8, 0.75}),
              std::log(9.0), 1e-9);
}

TEST(Space, APriorIsADensityThatSumsToOne) {
  const Space space = space_of({{"a", "log 1e-4 1 prior 0.5 0.4"}});
  double sum = 0;
  for (int i = 0; i < 10'000; ++i) {
    sum += std::exp(space.log_prior(std::vector<double>{(i + 0.5) / 10'000})) / 10'000;
  }
  EXPECT_NEAR(sum, 1.0, 1e-6);
}

TEST(Space, StartsArePartialAndAreCompleted) {
  const Space space =
      space_of(everything, {}, {"optimizer.lr=0.01 model.kind = cnn", "note = \"two words\""});
  ASSERT_EQ(space.starts().size(), 2U);
  Random random(2, 0);
  const Config config = space.complete(space.starts()[0], random);
  EXPECT_EQ(config.values[0], 0.01);
  EXPECT_EQ(space.word(2, config.values[2]), "cnn");
  EXPECT_FALSE(std::isnan(config.values[3]));
}

TEST(Space, CanonicalTextReadsBackToTheSameSpace) {
  const Space space = space_of(everything, {"model.kind == cnn and dropout >= 0.3",
                                            "model.kind in {mlp cnn} and keep < 0.1"});
  std::vector<SpaceLine> search;
  std::vector<SpaceLine> forbid;
  for (const std::string& line : split(space.text(), '\n')) {
    const std::size_t equals = line.find(" = ");
    if (equals != std::string::npos) {
      (line.starts_with("forbid = ") ? forbid : search)
          .push_back({line.substr(0, equals), line.substr(equals + 3), "text"});
    }
  }
  EXPECT_EQ(Space::parse(search, forbid).text(), space.text());
}

TEST(Space, HashesFollowEquality) {
  const Space space = space_of(everything);
  Random random(9, 0);
  std::set<std::uint64_t> hashes;
  for (int i = 0; i < 2000; ++i) {
    const Config config = space.sample(random);
    Config copy = config;
    EXPECT_EQ(space.hash(config), space.hash(copy));
    hashes.insert(space.hash(config));
  }
  EXPECT_EQ(hashes.size(), 2000U);
}

struct Bad {
  const char* text;
  const char* sentence;
  int caret;  // column of the caret within the value
};

TEST(Space, ErrorsShowTheLineAndPointAtTheWord) {
  const std::vector<Bad> cases{
      {"lag 1 2", "did you mean 'log'?", 0},
      {"0 1", "a range of numbers starts with its scale", 0},
      {"", "expected choice", 0},
      {"log 0 1", "a log range starts above 0", 4},
      {"log 1e-4", "expected the upper bound", 9},
      {"linear 2 1", "the upper bound lies below the lower one", 9},
      {"linear a 1", "expected the lower bound, a number, not 'a'", 7},
      {"linear nan 1", "a number, not 'nan'", 7},
      {"revlog 0.5 1", "a revlog range ends below 1", 11},
      {"logit 0 0.5", "a logit range lies inside (0, 1)", 6},
      {"int 1.5 3", "whole numbers", 4},
      {"int 1 3 step 0.5", "whole number", 13},
      {"linear 0 1 step 2", "fits into the range", 16},
      {"linear 0 1 points 1", "from 2 to a million", 18},
      {"choice a", "two values or more", 9},
      {"choice a b a", "'a' stands in the list twice", 11},
      {"choice a \"b", "this quote is never closed", 9},
      {"choice a b#c", "must stand in quotes, written \\x23", 10},
      {"choice a \"\\xg1\"", "two hexadecimal digits", 10},
      {"choice a b prior 1", "one weight for each of its 2 values", 11},
      {"choice a b prior 1 -1", "a weight is not negative", 19},
      {"linear 0 1 prior 3", "outside the range", 17},
      {"linear 0 1 prior 0.5 0", "spread lies above 0", 21},
      {"const 3 prior 1", "a constant has no prior", 8},
      {"linear 0 1 banana", "expected 'if', 'prior' or the end of the line, not 'banana'", 11},
      {"linear 0 1 if", "expected a key of [search]", 14},
      {"linear 0 1 if kindd == cnn", "did you mean 'kind'?", 14},
      {"linear 0 1 if kind = cnn", "expected ==", 19},
      {"linear 0 1 if kind < cnn", "needs a number or an order", 19},
      {"linear 0 1 if kind == ccn", "'ccn' is no value of 'kind' (mlp, cnn); did you mean 'cnn'?",
       22},
      {"linear 0 1 if kind in mlp", "expected '{'", 22},
      {"linear 0 1 if kind in {mlp", "expected a value after this", 27},
      {"linear 0 1 if kind in {}", "no value stands between the braces", 23},
      {"linear 0 1 if kind == mlp cnn", "expected 'and' or the end of the line", 26},
      {"linear 0 1 if n == two", "'n' is a number", 19},
  };
  for (const Bad& bad : cases) {
    SCOPED_TRACE(bad.text);
    try {
      space_of({{"kind", "choice mlp cnn"}, {"n", "int 1 3"}, {"key", bad.text}});
      FAIL() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::bad_input);
      const std::vector<std::string> shown = split(error.what(), '\n');
      ASSERT_EQ(shown.size(), 3U) << error.what();
      EXPECT_THAT(shown[0], HasSubstr(bad.sentence));
      EXPECT_THAT(shown[0], testing::StartsWith("sweep.ini:12: "));
      EXPECT_EQ(shown[1], std::string("  key = ") + bad.text);
      EXPECT_EQ(static_cast<int>(shown[2].find('^')), 8 + bad.caret) << error.what();
    }
  }
}

std::string complaint(const std::vector<std::pair<std::string, std::string>>& search,
                      const std::vector<std::string>& forbid = {},
                      const std::vector<std::string>& start = {}) {
  try {
    space_of(search, forbid, start);
    return "accepted";
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(Space, ErrorsAcrossLines) {
  EXPECT_THAT(complaint({{"a", "int 1 2"}, {"a", "int 1 3"}}),
              HasSubstr("stands in the search space twice"));
  EXPECT_THAT(complaint({{"a b", "int 1 2"}}), HasSubstr("a key is one word"));
  EXPECT_THAT(complaint({{"a", "int 1 2 if b == 1"}, {"b", "int 1 2 if a == 1"}}),
              HasSubstr("conditions go in a circle: a -> b -> a"));
  EXPECT_THAT(complaint({{"a", "int 1 2 if a == 1"}}),
              HasSubstr("conditions go in a circle: a -> a"));
  EXPECT_THAT(complaint({{"a", "int 1 2"}}, {"c == 1"}), HasSubstr("'c' is no key of [search]"));
  EXPECT_THAT(complaint({{"a", "int 1 2"}}, {""}), HasSubstr("expected a key of [search]"));
  EXPECT_THAT(complaint({{"a", "int 1 2"}}, {}, {"a=3"}),
              HasSubstr("'a' lies between 1 and 2, and 3 does not"));
  EXPECT_THAT(complaint({{"a", "int 1 2"}}, {}, {"a 1"}), HasSubstr("expected '=' and a value"));
  EXPECT_THAT(complaint({{"a", "int 1 2"}}, {}, {"a=1 a=2"}), HasSubstr("'a' stands here twice"));
  EXPECT_THAT(complaint({{"a", "int 1 2"}, {"b", "int 1 2 if a == 2"}}, {}, {"a=1 b=1"}),
              HasSubstr("'b' is given but inactive: it needs a == 2"));
  EXPECT_THAT(complaint({{"a", "int 1 2"}}, {"a == 2"}, {"a=2"}), HasSubstr("forbidden"));
}

TEST(Space, ConfigurationsFromWordsAreChecked) {
  const Space space = space_of(everything);
  EXPECT_THROW(space.config({{"optimizer.lr", "0.01"}}), Error);
  EXPECT_THROW(space.config({{"optimizer.lx", "0.01"}}), Error);
  Random random(1, 0);
  Space::Params params = space.params(space.sample(random));
  EXPECT_NO_THROW(space.config(params));
  params[0].second = "0.2";
  EXPECT_THROW(space.config(params), Error);
}

TEST(Space, FuzzedLinesAreReadOrRefusedWithAPlace) {
  const std::uint64_t seed = 4711;
  SCOPED_TRACE("seed " + std::to_string(seed));
  const std::vector<std::string> pieces{"int",    "float",  "linear",
                                        "log",    "revlog", "logit",
                                        "choice", "order",  "const",
                                        "prior",  "if",     "and",
                                        "in",     "{",      "}",
                                        "==",     "<=",     "a",
                                        "b",      "0",      "1",
                                        "-1",     "1e-4",   "1e309",
                                        "0.5",    "step",   "points",
                                        "\"x\"",  "\"",     "\\",
                                        "#",      " ",      "9007199254740993"};
  Random random(seed, 0);
  int accepted = 0;
  for (int round = 0; round < 60'000; ++round) {
    std::string text;
    for (std::uint64_t i = 0; i < 1 + random.below(9); ++i) {
      text += pieces[random.below(pieces.size())] + (random.below(6) > 0 ? " " : "");
    }
    if (random.below(4) == 0 && !text.empty()) {
      text[random.below(text.size())] = static_cast<char>(random.below(256));
    }
    try {
      const Space space =
          space_of({{"a", "choice x y"}, {"b", text}},
                   round % 3 == 0 ? std::vector<std::string>{text} : std::vector<std::string>{});
      ++accepted;
      const Config config = space.decode(std::vector<double>(space.dimensions(), 0.3));
      for (const auto& [key, word] : space.params(config)) {
        ASSERT_EQ(space.read(*space.find(key), word), config.values[*space.find(key)]) << text;
      }
    } catch (const Error& error) {
      ASSERT_EQ(error.fault(), Fault::bad_input) << text;
      ASSERT_THAT(error.what(), HasSubstr("sweep.ini:")) << text;
    }
  }
  EXPECT_GT(accepted, 100);
}

}  // namespace
}  // namespace muster::hpo
