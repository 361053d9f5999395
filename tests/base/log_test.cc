// SPDX-License-Identifier: Apache-2.0
#include "runtime/base/log.h"

#include <gtest/gtest.h>

#include <vector>

namespace muster {
namespace {

class LogTest : public testing::Test {
 protected:
  void SetUp() override {
    log::set_sink([this](log::Level, std::string_view line) { lines_.emplace_back(line); });
  }
  void TearDown() override {
    log::set_sink({});
    log::set_label({});
    log::set_threshold(log::Level::info);
  }
  std::vector<std::string> lines_;
};

TEST_F(LogTest, OneLineCarriesTimeRankTrialAndLevel) {
  log::set_label({.rank = 3, .trial = "17"});
  log::warning("the disk is nearly full");
  ASSERT_EQ(lines_.size(), 1U);
  EXPECT_EQ(lines_[0].substr(10, 1), "T");
  EXPECT_EQ(lines_[0].substr(24), " [rank 3] [trial 17] warning: the disk is nearly full");
}

TEST_F(LogTest, LeavesOutWhatIsUnknownAndWhatIsBelowTheThreshold) {
  log::debug("not shown");
  log::info("shown");
  ASSERT_EQ(lines_.size(), 1U);
  EXPECT_EQ(lines_[0].substr(24), " shown");
}

TEST_F(LogTest, LosesItsHeadOnATerminal) {
  log::set_label({.rank = 3, .trial = {}});
  log::write(log::Level::live, "epoch 1/2");
  ASSERT_EQ(lines_.size(), 1U);
  EXPECT_EQ(log::without_head(lines_[0]), "epoch 1/2");
  EXPECT_EQ(log::without_head("10 % [rank 3] done"), "10 % [rank 3] done");
  EXPECT_EQ(log::without_head(""), "");
}

}  // namespace
}  // namespace muster
