// The measured traps of Boost.Program_options' INI parser, each with what Muster does instead.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/config/ini.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace muster {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(Ini, GivesKeysWithTheirSectionAndLine) {
  const auto ini =
      read_ini("name = a\n\n# words\n[train]\n  epochs = 3   # more\nseed=7\n", "a.ini");
  EXPECT_THAT(ini.violations, IsEmpty());
  ASSERT_EQ(ini.entries.size(), 3U);
  EXPECT_EQ(ini.entries[0].key, "name");
  EXPECT_EQ(ini.entries[1].key, "train.epochs");
  EXPECT_EQ(ini.entries[1].value, "3");
  EXPECT_EQ(ini.entries[1].line, 5);
  EXPECT_EQ(ini.entries[2].value, "7");
}

TEST(Ini, ReadsOtherSystemsLineEndsAndByteOrderMark) {
  const auto ini = read_ini("\xEF\xBB\xBFname = a\r\n[train]\r\nepochs = 3\r\n", "a.ini");
  EXPECT_THAT(ini.violations, IsEmpty());
  ASSERT_EQ(ini.entries.size(), 2U);
  EXPECT_EQ(ini.entries[1].value, "3");
}

TEST(Ini, ReportsEveryBadLineWithItsNumber) {
  const auto ini = read_ini("[train]\nepochs 3\nseed = 1\n= 4\n[optimizer\n", "a.ini");
  EXPECT_THAT(ini.violations,
              ElementsAre(AllOf(HasSubstr("a.ini:2"), HasSubstr("'epochs 3' is neither")),
                          HasSubstr("a.ini:4"),
                          AllOf(HasSubstr("a.ini:5"), HasSubstr("'[name]' alone on its line"))));
  EXPECT_EQ(ini.entries.size(), 1U);
}

TEST(Ini, RefusesBlanksInASectionsBrackets) {
  const auto ini = read_ini("[ search ]\n[sea rch]\n[]\n", "a.ini");
  EXPECT_THAT(ini.violations, ElementsAre(HasSubstr("write [search]"), HasSubstr("write [sea_rch]"),
                                          HasSubstr("write [name]")));
}

TEST(Ini, RefusesAnAssignmentToASection) {
  EXPECT_THAT(read_ini("[x] = y\n", "a.ini").violations,
              ElementsAre(AllOf(HasSubstr("a.ini:1"), HasSubstr("[x] = y"))));
}

TEST(Ini, RefusesAHashThatWouldCutAValue) {
  const auto ini = read_ini("a = \"x # y\"\nb = x#y\nc = x # y\n", "a.ini");
  EXPECT_THAT(ini.violations,
              ElementsAre(AllOf(HasSubstr("a.ini:1"), HasSubstr("'a'"), HasSubstr("\\x23")),
                          AllOf(HasSubstr("a.ini:2"), HasSubstr("'b'"))));
  ASSERT_EQ(ini.entries.size(), 1U);
  EXPECT_EQ(ini.entries[0].value, "x");
}

TEST(Ini, AnEscapedHashComesBack) {
  EXPECT_EQ(ini_escaped("a#b #"), "a\\x23b \\x23");
  EXPECT_EQ(ini_unescaped(ini_escaped("a#b \\ #")), "a#b \\ #");
}

TEST(Ini, KeepsEqualsSignsAndDashesOfAValue) {
  const auto ini = read_ini("[trial]\ncommand = python a.py --lr=3 --x y\nflag = --strict\n", "a");
  ASSERT_EQ(ini.entries.size(), 2U);
  EXPECT_EQ(ini.entries[0].value, "python a.py --lr=3 --x y");
  EXPECT_EQ(ini.entries[1].value, "--strict");
}

TEST(Ini, KeepsAnEmptyValue) {
  const auto ini = read_ini("a =\n", "a.ini");
  EXPECT_THAT(ini.violations, IsEmpty());
  ASSERT_EQ(ini.entries.size(), 1U);
  EXPECT_EQ(ini.entries[0].value, "");
}

}  // namespace
}  // namespace muster
