// A sweep as people see it on a terminal: what the table says, that it fits, and that lines of the
// log do not tear it.
// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/sweep_table.h"

#include <gmock/gmock.h>

#include <cmath>

#include "launcher/sweep/live_table.h"
#include "launcher/sweep/text_grid.h"
#include "runtime/base/log.h"
#include "runtime/base/text.h"
#include "tests/hpo/sweep_fixture.h"
#include "tests/launcher/programs.h"

namespace muster {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Le;
using testing::Not;
using testing::ResultOf;

TEST(TextGrid, CutsWhereTheTerminalEndsAndColoursTakeNoColumn) {
  EXPECT_EQ(columns_of("▁▃▅▇ \x1b[32mgreen\x1b[0m"), 10U);
  EXPECT_EQ(fitted("twelve chars", 12), "twelve chars");
  EXPECT_EQ(fitted("twelve chars", 7), "twelve…");
  EXPECT_EQ(fitted("\x1b[31mtwelve chars\x1b[0m", 4), "\x1b[31mtwe…\x1b[0m");
  TextGrid grid;
  grid.add_column("n", TextGrid::Side::right);
  grid.add_column("name", TextGrid::Side::left);
  EXPECT_TRUE(grid.lines(80, false).empty());
  grid.add_row({"9", "a"});
  grid.add_row({"10", "longer"});
  EXPECT_THAT(grid.lines(80, false), ElementsAre("   n  name", "   9  a", "  10  longer"));
}

class SweepTable : public testing::Test {
 protected:
  SweepTable() {
    const std::vector<hpo::SpaceLine> lines{{"optimizer.lr", "log 1e-4 1e-1", "sweep.ini:1"},
                                            {"model.hidden", "int 8 256", "sweep.ini:2"},
                                            {"head.hidden", "int 8 256", "sweep.ini:3"}};
    setup_.name = "night";
    setup_.objective = "max acc";
    setup_.metric = "acc";
    setup_.maximise = true;
    setup_.space = hpo::Space::parse(lines);
    setup_.limits.max_trials = 10;
    setup_.retries = 0;
    study_ = std::make_unique<hpo::Study>(setup_, directory_.path() / "journal", clock_);
    study_->count_slots(4);
  }
  hpo::TrialId launch() {
    study_->propose();
    const auto trial = study_->launch(study_->next(), 0).trial;
    clock_.advance(std::chrono::seconds(2));
    return trial;
  }
  void report(hpo::TrialId trial, double resource, double value) {
    study_->tell({.trial = trial, .resource = resource, .value = value, .seconds = 1.0});
  }
  void fail(hpo::TrialId trial, const std::string& reason) {
    study_->end(trial, hpo::TrialState::failed, reason);
  }
  std::vector<std::string> table(TableLook look = {}) const {
    return sweep_table(study_->state(), study_->now(), look);
  }
  std::string text(TableLook look = {}) const { return join(table(look), "\n"); }

  test::TemporaryDirectory directory_;
  hpo::StudySetup setup_;
  VirtualClock clock_;
  std::unique_ptr<hpo::Study> study_;
};

TEST_F(SweepTable, TellsHowFarItIsTheBestAndWhatRuns) {
  const auto first = launch();
  report(first, 1, 0.25);
  report(first, 2, 0.75);
  study_->end(first, hpo::TrialState::complete, "", 0.75);
  report(launch(), 1, 0.5);
  const auto lines = table();
  EXPECT_THAT(lines[0], HasSubstr("night  max acc, "));
  EXPECT_THAT(lines[0], HasSubstr(", 4.0 s"));
  EXPECT_THAT(lines[1], HasSubstr("2 of 10 trials: 1 running, 1 complete, about 16 s left"));
  EXPECT_THAT(lines[2], HasSubstr("best  0.75  trial 1: lr "));
  EXPECT_EQ(lines[3], "  slots 1 of 4 busy, 4.0 s of slot time");
  EXPECT_EQ(table({.slot = {.count = 1.8, .unit = "core"}})[3],
            "  slots 1 of 4 busy, 0.002 core hours");
  EXPECT_THAT(lines[4], HasSubstr("lr  model.hidden  head.hidden"))
      << "an end that two keys share is no name";
  EXPECT_THAT(lines[5], HasSubstr("2       1  0.5  ▄"));
}

TEST(SweepTableOfRungs, SaysHowFarTheBestHasComeUntilATrialIsComplete) {
  const test::TemporaryDirectory directory;
  VirtualClock clock;
  hpo::Study study(hpo::small_setup("asha", 9), directory.path() / "journal", clock);
  const auto start_one = [&study] {
    study.propose();
    return study.launch(study.next()).trial;
  };
  const auto best_line = [&study] { return sweep_table(study.state(), 1, {}).at(2); };
  EXPECT_EQ(best_line(), "  best  none yet");
  study.tell({.trial = start_one(), .resource = 1, .value = 0.25});
  EXPECT_THAT(best_line(), HasSubstr("best  0.25  trial 1 (after 1 of 9 epochs): "));
  study.tell({.trial = start_one(), .value = 0.5});  // worse here, but at its end
  EXPECT_THAT(best_line(), HasSubstr("best  0.5  trial 2: "));
}

TEST_F(SweepTable, SaysWhyTrialsFailedWhoeverSharesAReasonInOneLine) {
  for (int i = 0; i < 6; ++i) {
    fail(launch(), "exited with 3: ValueError: no such layer");
  }
  study_->tell({.trial = launch(), .resource = 1, .value = std::nan("")});
  const auto lines = failure_lines(study_->state(), {}, 3);
  EXPECT_THAT(lines, ElementsAre("  trial 7 failed: its acc was not a finite number",
                                 "  trials 1, 2, 3, 4 and 2 more failed: exited with 3: "
                                 "ValueError: no such layer"));
  EXPECT_THAT(text(), HasSubstr(lines[1]));
}

TEST_F(SweepTable, FitsIntoTheTerminalWhateverItsSize) {
  for (int i = 0; i < 9; ++i) {
    report(launch(), 1, 0.1 * i);
  }
  fail(9, std::string(300, 'x'));
  for (const std::size_t columns : {20U, 41U, 80U, 200U}) {
    for (const std::size_t rows : {8U, 12U, 24U}) {
      for (const bool has_colours : {false, true}) {
        const auto lines = table({.columns = columns, .rows = rows, .has_colours = has_colours});
        EXPECT_LE(lines.size(), rows);
        EXPECT_THAT(lines, Each(ResultOf(columns_of, Le(columns))));
      }
    }
  }
}

/// What a terminal shows after these bytes: as much of it as the live table uses.
std::vector<std::string> screen_after(const std::string& bytes) {
  std::vector<std::string> lines{""};
  std::size_t row = 0;
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    if (bytes[at] == '\n') {
      lines.resize(std::max(lines.size(), ++row + 1));
    } else if (bytes[at] == '\x1b') {
      const auto end = bytes.find_first_of("AKJm", at);
      if (bytes[end] == 'A') {
        row -= static_cast<std::size_t>(*parse_int(bytes.substr(at + 2, end - at - 2)));
      } else if (bytes[end] == 'J') {
        lines.resize(row + 1);
        lines[row].clear();
      }
      at = end;
    } else if (bytes[at] != '\r') {
      if (at == 0 || bytes[at - 1] == '\n' || bytes[at - 1] == '\r') {
        lines[row].clear();  // the table ends every line with "clear to its end"
      }
      lines[row] += bytes[at];
    }
  }
  return lines;
}

TEST_F(SweepTable, ALineOfTheLogStandsAboveTheTableAndTearsNothing) {
  std::string bytes;
  LiveTable live({.redraws = true,
                  .resource = "epochs",
                  .write = [&bytes](std::string_view more) { bytes += more; }},
                 clock_);
  launch();
  live.show(*study_);
  log::warning("trial 1 is slow");
  launch();
  live.show(*study_);
  log::warning("trial 2 is slow");
  report(2, 1, 0.5);
  live.finish(*study_);
  log::warning("the table is left alone now");
  const auto screen = screen_after(bytes);
  ASSERT_GT(screen.size(), 7U);
  EXPECT_THAT(screen[0], HasSubstr("trial 1 is slow"));
  EXPECT_THAT(screen[1], HasSubstr("trial 2 is slow"));
  EXPECT_THAT(screen[2], HasSubstr("night"));
  const auto after = join(std::vector<std::string>(screen.begin() + 3, screen.end()), "\n");
  EXPECT_THAT(after, Not(HasSubstr("night"))) << "it stands there twice";
  EXPECT_THAT(after, HasSubstr("2 of 10 trials"));
  EXPECT_THAT(bytes, Not(HasSubstr("left alone")));
}

TEST(Spark, DrawsTheLastValuesFromWorstToBest) {
  EXPECT_EQ(spark({0, 1, 2, 7}, true, 8), "▁▂▃█");
  EXPECT_EQ(spark({0, 1, 2, 7}, false, 2), "▆▁");
  EXPECT_EQ(spark({3, 3}, true, 8), "▄▄");
  EXPECT_EQ(spark({}, true, 8), "");
}

}  // namespace
}  // namespace muster
