// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/config/load.h"

namespace muster {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using Strings = std::vector<std::string>;

class CommandLineTest : public ::testing::Test {
 protected:
  CommandLineTest() {
    keys_.add("optimizer.lr", lr_, "rate");
    keys_.add("train.epochs", epochs_, "passes");
    keys_.add("train.strict", strict_, "equal bits");
    keys_.add("name", name_, "name");
  }
  CommandLine split(const Strings& arguments) { return split_command_line(keys_, arguments); }
  void load_arguments(const Strings& arguments) { load(keys_, {{}, {}, arguments}); }

  double lr_ = 0.1;
  int epochs_ = 1;
  bool strict_ = false;
  std::string name_;
  Keys keys_;
};

TEST_F(CommandLineTest, SeparatesOptionsWordsAndTheRest) {
  const auto line = split({"job.ini", "--train.epochs", "3", "--train.strict", "b.ini",
                           "--optimizer.lr=0.5", "--", "python", "--x"});
  EXPECT_THAT(line.options,
              ElementsAre("--train.epochs=3", "--train.strict=true", "--optimizer.lr=0.5"));
  EXPECT_THAT(line.words, ElementsAre("job.ini", "b.ini"));
  EXPECT_THAT(line.rest, ElementsAre("python", "--x"));
  EXPECT_FALSE(line.wants_help);
}

TEST_F(CommandLineTest, AFlagMayStandAloneOrTakeItsValue) {
  load_arguments({"--train.strict"});
  EXPECT_TRUE(strict_);
  load_arguments({"--train.strict", "false"});
  EXPECT_FALSE(strict_);
}

TEST_F(CommandLineTest, AnOptionIsNeverTheValueOfTheOneBefore) {
  EXPECT_THAT(
      [&] {
        split({"--optimizer.lr", "--train.epochs", "3"});
      },
      ThrowsMessage<Error>(
          AllOf(HasSubstr("--optimizer.lr has no value"), HasSubstr("'--train.epochs'"))));
  EXPECT_THAT([&] { split({"--name"}); }, ThrowsMessage<Error>(HasSubstr("--name has no value")));
  load_arguments({"--name=--odd"});
  EXPECT_EQ(name_, "--odd");
}

TEST_F(CommandLineTest, ANegativeNumberIsAValue) {
  load_arguments({"--optimizer.lr", "-0.5"});
  EXPECT_EQ(lr_, -0.5);
}

TEST_F(CommandLineTest, NeverGuessesAShortenedName) {
  EXPECT_THAT(
      [&] {
        load_arguments({"--optimizer.l", "3"});
      },
      ThrowsMessage<Error>(AllOf(HasSubstr("the command line: unknown key 'optimizer.l'"),
                                 HasSubstr("did you mean 'optimizer.lr'?"))));
}

TEST_F(CommandLineTest, RefusesSingleDashesAndStrayWords) {
  EXPECT_THAT([&] { split({"-x"}); }, ThrowsMessage<Error>(HasSubstr("unknown option '-x'")));
  EXPECT_THAT([&] { load_arguments({"stray"}); },
              ThrowsMessage<Error>(HasSubstr("unexpected word 'stray'")));
}

TEST_F(CommandLineTest, TheLastOfSeveralHolds) {
  load_arguments({"--train.epochs=2", "--train.epochs=5"});
  EXPECT_EQ(epochs_, 5);
}

TEST_F(CommandLineTest, KnowsHelp) {
  EXPECT_TRUE(split({"--help"}).wants_help);
  EXPECT_TRUE(split({"a.ini", "-h"}).wants_help);
}

}  // namespace
}  // namespace muster
