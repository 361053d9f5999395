// SPDX-License-Identifier: Apache-2.0
#include "launcher/supervise/last_words.h"

#include <gtest/gtest.h>

#include <csignal>
#include <initializer_list>
#include <string_view>

namespace muster {
namespace {

LastWords heard(std::initializer_list<std::string_view> lines) {
  LastWords words;
  for (const auto line : lines) {
    words.hear(line);
  }
  return words;
}

constexpr Ended exited_with_3{3 << 8, 0, 0};

TEST(LastWords, TheLastLineWhereNobodyComplains) {
  EXPECT_EQ(heard({"going on", "no such layer", "", "  "}).why(exited_with_3), "no such layer");
  EXPECT_EQ(heard({}).why(exited_with_3), "");
}

TEST(LastWords, AComplaintComesBeforeWhatIsSaidOnTheWayOut) {
  EXPECT_EQ(heard({"Traceback (most recent call last):", "ValueError: no such layer",
                   "[W] destroy_process_group() was not called"})
                .why(exited_with_3),
            "ValueError: no such layer");
}

TEST(LastWords, FramesAreNoWordsButAreRemembered) {
  const auto words = heard({"crashed with SIGSEGV at address 0x10, in thread trial 3",
                            "back-trace:", "/lib/libx.so(+0x1f)[0x55d0]"});
  EXPECT_EQ(words.why({SIGSEGV, 0, 0}), "at address 0x10, in thread trial 3");
  EXPECT_TRUE(words.has_back_trace());
  EXPECT_FALSE(heard({"error: no"}).has_back_trace());
}

TEST(LastWords, WhatItDiedOfBeforeTheRecordOfItsCrash) {
  EXPECT_EQ(heard({"terminate called after throwing an instance of 'std::runtime_error'",
                   "  what():  the plugin has no memory", "crashed with SIGABRT, in thread trial 3",
                   "back-trace:"})
                .why({SIGABRT, 0, 0}),
            "what():  the plugin has no memory");
}

TEST(LastWords, AnOldComplaintDoesNotExplainACrash) {
  EXPECT_EQ(heard({"error: trial 2 has no data", "trial 3 begins",
                   "crashed with SIGSEGV at address 0x10, in thread trial 3"})
                .why({SIGSEGV, 0, 0}),
            "at address 0x10, in thread trial 3");
}

TEST(LastWords, WhoIsKilledHasNotKnownIt) {
  EXPECT_EQ(heard({"[trial 12] resumed at step 405"}).why({SIGKILL, 0, 0}), "");
}

TEST(LastWords, OnlyTheLastAreKept) {
  auto words = heard({"error: long ago"});
  for (int i = 0; i < 100; ++i) {
    words.hear("going on");
  }
  EXPECT_EQ(words.why(exited_with_3), "going on");
  EXPECT_FALSE(words.any_has("long ago"));
}

}  // namespace
}  // namespace muster
