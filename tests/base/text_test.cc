// SPDX-License-Identifier: Apache-2.0
#include "runtime/base/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/base/error.h"

namespace muster {
namespace {

using Strings = std::vector<std::string>;

TEST(Text, SplitsAndTrims) {
  EXPECT_EQ(trim("  a b\t\n"), "a b");
  EXPECT_EQ(trim(" \t"), "");
  EXPECT_EQ(split("a,,b,", ','), (Strings{"a", "", "b", ""}));
  EXPECT_EQ(words("  one  two\tthree "), (Strings{"one", "two", "three"}));
  EXPECT_EQ(join(Strings{"a", "b"}, ", "), "a, b");
}

TEST(Text, SplitsAsAShellDoesAndExpandsNothing) {
  EXPECT_EQ(shell_words(R"(python3 train.py --name "a b" 'c $HOME' d\ e "" "x\"y" "\n")"),
            (Strings{"python3", "train.py", "--name", "a b", "c $HOME", "d e", "", "x\"y", "\\n"}));
  EXPECT_THAT([] { shell_words("echo 'open"); },
              testing::ThrowsMessage<Error>(
                  testing::HasSubstr("a ' is opened and never closed in: echo 'open")));
  for (const std::string word : {"plain", "a b", "it's", "", "$x", "a;b"}) {
    EXPECT_EQ(shell_words(shell_quoted(word)), Strings{word});
  }
}

TEST(Text, NumbersAreWholeWordsOrNothing) {
  EXPECT_EQ(parse_double("1e-3"), 1e-3);
  EXPECT_EQ(parse_double("+2"), 2);
  EXPECT_EQ(parse_double("1,5"), std::nullopt);
  EXPECT_EQ(parse_double(""), std::nullopt);
  EXPECT_EQ(parse_int("12"), 12);
  EXPECT_EQ(parse_int("12.0"), std::nullopt);
  EXPECT_EQ(parse_bool("Yes"), true);
  EXPECT_EQ(parse_bool("maybe"), std::nullopt);
  EXPECT_EQ(parse_double(exact(0.1)), 0.1);
}

TEST(Text, ReadsDurationsOfPeopleAndOfSlurm) {
  EXPECT_EQ(parse_seconds("90"), 90);
  EXPECT_EQ(parse_seconds("1.5 h"), 5400);
  EXPECT_EQ(parse_seconds("15m"), 900);
  EXPECT_EQ(parse_seconds("02:30:00"), 9000);
  EXPECT_EQ(parse_seconds("1-00:00:30"), 86430);
  EXPECT_EQ(parse_seconds("5 parsecs"), std::nullopt);
  EXPECT_EQ(parse_seconds("-5"), std::nullopt);
}

TEST(Text, ReadsAndWritesBytes) {
  EXPECT_EQ(parse_bytes("64K"), 65536U);
  EXPECT_EQ(parse_bytes("1.5 GB"), 1610612736U);
  EXPECT_EQ(parse_bytes("2GiB"), 2147483648U);
  EXPECT_EQ(parse_bytes("12 apples"), std::nullopt);
  EXPECT_EQ(human_bytes(999), "999 B");
  EXPECT_EQ(human_bytes(1.55e9), "1.6 GB");
  EXPECT_EQ(human_bytes(123e6), "123 MB");
}

TEST(Text, ProposesTheNearestKnownWord) {
  const Strings known{"optimizer.lr", "optimizer.momentum", "train.epochs"};
  EXPECT_EQ(nearest("optimizer.ls", known), "optimizer.lr");
  EXPECT_EQ(nearest("train.epoch", known), "train.epochs");
  EXPECT_EQ(nearest("zebra", known), std::nullopt);
}

}  // namespace
}  // namespace muster
