// SPDX-License-Identifier: Apache-2.0
#include "runtime/config/load.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "runtime/base/exit_codes.h"
#include "runtime/base/file_system.h"

namespace muster {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::ThrowsMessage;

struct Settings {
  std::string name = "digits";
  int ranks = 0;
  double lr = 0.1;
  std::optional<double> clip;
  std::vector<double> betas{0.9, 0.999};
  int epochs = 10;
  bool strict = false;
  std::optional<double> every_seconds;
  std::optional<std::uint64_t> memory;
  std::vector<std::string> forbid;
  std::vector<Keys::Entry> start;
  std::vector<Keys::Entry> search;
  std::vector<Keys::Entry> metrics;
  std::string command;
};

Keys keys_of(Settings& settings) {
  Keys keys;
  keys.add("name", settings.name, "name");
  keys.add("ranks", settings.ranks, "ranks").at_least(0).may_change();
  keys.add("optimizer.lr", settings.lr, "rate").above(0);
  keys.add("optimizer.clip", settings.clip, "clip").above(0);
  keys.add("optimizer.betas", settings.betas, "betas").at_least(0).below(1);
  keys.add("train.epochs", settings.epochs, "passes").at_least(1);
  keys.add("train.strict", settings.strict, "equal bits");
  keys.add_seconds("checkpoint.every", settings.every_seconds, "interval");
  keys.add_bytes("trial.memory", settings.memory, "memory");
  keys.add("trial.command", settings.command, "command");
  keys.add("tune.forbid", settings.forbid, "combination");
  keys.add("tune.start", settings.start, "point");
  keys.open_section("search", settings.search, "space");
  keys.open_section("trial.metric", settings.metrics, "expression");
  return keys;
}

class LoadTest : public ::testing::Test {
 protected:
  Resolved take(const std::string& text) { return load_text(keys_, text, "job.ini"); }
  std::string complaint(const std::string& text) {
    try {
      take(text);
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::bad_input);
      EXPECT_EQ(exit_code_of(error), exit_usage);
      return error.what();
    }
    return "";
  }
  Path write(const std::string& name, const std::string& text) {
    const Path path = Path(::testing::TempDir()) / ("load_test_" + std::to_string(getpid())) / name;
    posix_file_system().make_directory(path.parent_path());
    write_file_atomically(path, text);
    return path;
  }

  Settings settings_;
  Keys keys_ = keys_of(settings_);
};

TEST_F(LoadTest, FillsEveryKindOfField) {
  const auto resolved = take(
      "ranks = 4\n[optimizer]\nlr = 1e-3\nclip = 2\nbetas = 0.8, 0.9\n[train]\nstrict = yes\n"
      "[checkpoint]\nevery = 15m\n[trial]\nmemory = 2GiB\nmetric.loss = loss=(\\S+)\n"
      "[tune]\nforbid = a == 1\nforbid = b == 2\n[search]\noptimizer.lr = log 1e-4 1e-1\n");
  EXPECT_EQ(settings_.ranks, 4);
  EXPECT_EQ(settings_.lr, 1e-3);
  EXPECT_EQ(settings_.clip, 2);
  EXPECT_THAT(settings_.betas, ElementsAre(0.8, 0.9));
  EXPECT_TRUE(settings_.strict);
  EXPECT_EQ(settings_.every_seconds, 900);
  EXPECT_EQ(settings_.memory, 2ULL << 30);
  EXPECT_THAT(settings_.forbid, ElementsAre("a == 1", "b == 2"));
  ASSERT_EQ(settings_.search.size(), 1U);
  EXPECT_EQ(settings_.search[0].key, "optimizer.lr");
  EXPECT_EQ(settings_.search[0].value, "log 1e-4 1e-1");
  EXPECT_EQ(settings_.search[0].origin.text(), "job.ini:17");
  ASSERT_EQ(settings_.metrics.size(), 1U);
  EXPECT_EQ(settings_.metrics[0].key, "loss");
  EXPECT_EQ(resolved.origins.at("optimizer.clip").back().line, 4);
  EXPECT_EQ(settings_.epochs, 10);
}

TEST_F(LoadTest, CommandLineBeatsEnvironmentBeatsFileBeatsDefault) {
  const auto path = write("job.ini", "[train]\nepochs = 2\n[optimizer]\nlr = 0.2\nclip = 2\n");
  const auto resolved =
      load(keys_, {path.string(),
                   {{"MUSTER_OPTIMIZER_LR", "0.3"}, {"MUSTER_OPTIMIZER_CLIP", "3"}},
                   {"--optimizer.clip", "4"}});
  EXPECT_EQ(settings_.epochs, 2);
  EXPECT_EQ(settings_.lr, 0.3);
  EXPECT_EQ(settings_.clip, 4);
  EXPECT_EQ(settings_.ranks, 0);
  EXPECT_EQ(resolved.origins.at("train.epochs").back().text(), path.string() + ":2");
  EXPECT_EQ(resolved.origins.at("optimizer.lr").back().text(), "MUSTER_OPTIMIZER_LR");
  EXPECT_EQ(resolved.origins.at("optimizer.clip").back().text(), "the command line");
  EXPECT_FALSE(resolved.origins.contains("ranks"));
}

TEST_F(LoadTest, AStrongerSourceReplacesARepeatedKeyAndAnEntryWhole) {
  const auto path =
      write("a.ini", "[tune]\nforbid = a\nforbid = b\n[search]\nx = int 1 2\ny = int 3 4\n");
  load(keys_, {path.string(), {}, {"--tune.forbid=c", "--search.x=int 5 6"}});
  EXPECT_THAT(settings_.forbid, ElementsAre("c"));
  ASSERT_EQ(settings_.search.size(), 2U);
  EXPECT_EQ(settings_.search[0].value, "int 5 6");
  EXPECT_EQ(settings_.search[1].key, "y");
}

TEST_F(LoadTest, ReportsAllViolationsOfAFileInTheOrderOfItsLines) {
  const auto text = complaint(
      "rank = 2\n[optimizer]\nlr = -1\nlearning_rate = 3\n[train]\nepochs = ten\n[optimzer]\nx = "
      "1\n"
      "[train]\nstrict = perhaps\nstrict = no\nnonsense\n");
  EXPECT_THAT(text, HasSubstr("8 things in the configuration cannot be used:"));
  EXPECT_THAT(text, HasSubstr("job.ini:1: unknown key 'rank' (did you mean 'ranks'?)"));
  EXPECT_THAT(text, HasSubstr("job.ini:3: optimizer.lr must be above 0, not '-1'"));
  EXPECT_THAT(text, HasSubstr("job.ini:4: unknown key 'optimizer.learning_rate'"));
  EXPECT_THAT(text, HasSubstr("job.ini:6: train.epochs must be a whole number, not 'ten'"));
  EXPECT_THAT(text, HasSubstr("job.ini:7: unknown section [optimzer] (did you mean [optimizer]?)"));
  EXPECT_THAT(text, HasSubstr("job.ini:10: train.strict must be true or false, not 'perhaps'"));
  EXPECT_THAT(text, HasSubstr("job.ini:11: train.strict is given twice, first in line 10"));
  EXPECT_THAT(text, HasSubstr("job.ini:12: 'nonsense' is neither"));
  EXPECT_LT(text.find("job.ini:4:"), text.find("job.ini:6:"));
  EXPECT_LT(text.find("job.ini:7:"), text.find("job.ini:10:"));
}

TEST_F(LoadTest, OneViolationIsOneSentence) {
  EXPECT_EQ(complaint("[optimizer]\nbetas = 0.9 1\n"),
            "job.ini:2: optimizer.betas must be a list, each below 1, not '0.9 1'");
  EXPECT_EQ(complaint("[checkpoint]\nevery = soon\n"),
            "job.ini:2: checkpoint.every must be a duration such as 90, 15m or 02:30:00, not "
            "'soon'");
  EXPECT_EQ(complaint("[trial]\nmemory = big\n"),
            "job.ini:2: trial.memory must be a size such as 512, 64K or 1.5GB, not 'big'");
  EXPECT_EQ(complaint("[optimizer]\nlr = nan\n"),
            "job.ini:2: optimizer.lr must be a number, not 'nan'");
}

TEST_F(LoadTest, AValueThatWouldBeOverriddenIsStillChecked) {
  const auto path = write("job.ini", "[train]\nepochs = x\n");
  EXPECT_THAT(
      [&] {
        load(keys_, {path.string(), {}, {"--train.epochs=3"}});
      },
      ThrowsMessage<Error>(HasSubstr("train.epochs must be a whole number")));
}

TEST_F(LoadTest, AMissingFileProposesTheNearestOne) {
  const auto path = write("mnist.ini", "");
  EXPECT_THAT(
      [&] {
        load(keys_, {path.string() + "x", {}, {}});
      },
      ThrowsMessage<Error>(AllOf(HasSubstr("mnist.inix' does not exist"),
                                 HasSubstr("did you mean '" + path.string() + "'?"))));
}

TEST_F(LoadTest, AnUnknownVariableOfAKnownSectionIsAnError) {
  EXPECT_THAT(
      [&] {
        load(keys_, {{}, {{"MUSTER_OPTIMIZER_LT", "3"}}, {}});
      },
      ThrowsMessage<Error>(AllOf(HasSubstr("MUSTER_OPTIMIZER_LT: no such key"),
                                 HasSubstr("did you mean MUSTER_OPTIMIZER_LR?"))));
  EXPECT_THAT(
      [&] {
        load(keys_, {{}, {{"MUSTER_OPTIMIZER_LR", "fast"}}, {}});
      },
      ThrowsMessage<Error>(HasSubstr("MUSTER_OPTIMIZER_LR: optimizer.lr must be a number")));
}

TEST_F(LoadTest, OtherVariablesOfTheNamePassAndSomeWarn) {
  const auto resolved = load(keys_, {{},
                                     {{"MUSTER_TORCH", "/opt"},
                                      {"MUSTER_METRICS", "x"},
                                      {"MUSTER_SOMETHING", "x"},
                                      {"MUSTER_EPOCHS", "3"},
                                      {"HOME", "/root"}},
                                     {}});
  EXPECT_THAT(resolved.warnings,
              ElementsAre(AllOf(HasSubstr("MUSTER_EPOCHS"), HasSubstr("MUSTER_TRAIN_EPOCHS"))));
  EXPECT_EQ(settings_.epochs, 10);
}

TEST_F(LoadTest, TheResolvedFileReadsBackToTheSame) {
  const auto first = take(
      "name = a \\x23 b\nranks = 3\n[optimizer]\nlr = 0.1\n[train]\nstrict = true\n"
      "[trial]\nmetric.m = (\\x23.*)\n[search]\na.b = choice \"\\x23\" 2\n"
      "[tune]\nforbid = x\nforbid = y\n");
  EXPECT_EQ(settings_.name, "a # b");
  Settings again;
  auto keys = keys_of(again);
  const auto second = load_text(keys, first.file_text, "config.ini");
  EXPECT_EQ(second.file_text, first.file_text);
  EXPECT_EQ(again.name, settings_.name);
  EXPECT_EQ(again.forbid, settings_.forbid);
  ASSERT_EQ(again.search.size(), 1U);
  EXPECT_EQ(again.search[0].value, "choice \"\\x23\" 2");
  ASSERT_EQ(again.metrics.size(), 1U);
  EXPECT_EQ(again.metrics[0].key, "m");
}

TEST_F(LoadTest, TheExplainedFileSaysWhereValuesCameFromAndReadsBack) {
  const auto resolved = take("[train]\nepochs = 7\n");
  EXPECT_THAT(resolved.explained_text, HasSubstr("epochs = 7"));
  EXPECT_THAT(resolved.explained_text, HasSubstr("# job.ini:2"));
  EXPECT_THAT(resolved.explained_text, HasSubstr("# the default"));
  Settings again;
  auto keys = keys_of(again);
  EXPECT_EQ(load_text(keys, resolved.explained_text, "x").file_text, resolved.file_text);
}

TEST_F(LoadTest, EachValueOfARepeatedKeyRemembersItsLine) {
  const auto resolved = take("[tune]\nstart = a\nforbid = b\nstart = c\n");
  ASSERT_EQ(settings_.start.size(), 2U);
  EXPECT_EQ(settings_.start[0].origin.text(), "job.ini:2");
  EXPECT_EQ(settings_.start[1].value, "c");
  EXPECT_EQ(settings_.start[1].origin.text(), "job.ini:4");
  EXPECT_THAT(resolved.explained_text,
              HasSubstr("start = a                            # job.ini:2\n"));
  EXPECT_THAT(resolved.explained_text,
              HasSubstr("start = c                            # job.ini:4\n"));

  load(keys_,
       {write("one.ini", "[tune]\nstart = a\nstart = b\n").string(), {}, {"--tune.start=d"}});
  ASSERT_EQ(settings_.start.size(), 1U);
  EXPECT_EQ(settings_.start[0].origin.text(), "the command line");
}

TEST_F(LoadTest, FindsTheDifferencesThatAContinuedRunMayNotHave) {
  const auto before = take("[train]\nepochs = 7\n[search]\na = int 1 2\n").file_text;
  Settings other;
  auto keys = keys_of(other);
  const auto same = load_text(keys, "ranks = 8\n[train]\nepochs = 7\n[search]\na = int 1 2\n", "b");
  EXPECT_THAT(forbidden_differences(keys, same.file_text, before), IsEmpty());
  Settings third;
  auto more = keys_of(third);
  const auto now =
      load_text(more, "[train]\nepochs = 8\n[optimizer]\nclip = 1\n[search]\na = int 1 3\n", "c");
  EXPECT_THAT(forbidden_differences(more, now.file_text, before),
              ElementsAre("optimizer.clip", "train.epochs", "[search]"));
}

TEST_F(LoadTest, AFileOfAnOlderVersionDiffersOnlyWhereValuesDo) {
  const auto now = take("[train]\nepochs = 7\n").file_text;
  EXPECT_THAT(forbidden_differences(keys_, now, "[train]\nepochs = 7\nretired = 1\n"), IsEmpty());
}

TEST_F(LoadTest, RulesOverSeveralKeysNameThePlace) {
  keys_.check("train.epochs", [&]() -> std::optional<std::string> {
    return settings_.epochs % 2 == 0 ? std::nullopt : std::optional<std::string>("odd epochs");
  });
  EXPECT_EQ(complaint("[train]\nepochs = 3\n"), "job.ini:2: odd epochs");
  EXPECT_EQ(complaint("[train]\nepochs = 4\n"), "");
}

TEST(Load, KeysOfTheCommandLineDoNotBelongInAFile) {
  Keys keys;
  bool json = false;
  keys.add("json", json, "").only_on_command_line();
  EXPECT_THAT([&] { load_text(keys, "json = true\n", "a.ini"); },
              ThrowsMessage<Error>(HasSubstr("belongs on the command line")));
  const auto resolved = load(keys, {{}, {{"MUSTER_JSON", "true"}}, {}});
  EXPECT_FALSE(json);
  EXPECT_EQ(resolved.file_text, "");
  load(keys, {{}, {}, {"--json"}});
  EXPECT_TRUE(json);
}

TEST(Load, ReadsThisProcessesEnvironment) {
  ::setenv("MUSTER_LOAD_TEST", "a=b", 1);
  EXPECT_EQ(current_environment().at("MUSTER_LOAD_TEST"), "a=b");
}

}  // namespace
}  // namespace muster
