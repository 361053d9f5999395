// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include "launcher/supervise/rank_logs.h"
#include "launcher/supervise/run_directory.h"
#include "launcher/supervise/run_status.h"
#include "runtime/base/error.h"
#include "tests/launcher/programs.h"

namespace muster {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;

const WallTime noon = WallTime{} + std::chrono::hours(24 * 365 * 56);

TEST(JobStatus, KeepsEveryChangeOfState) {
  JobStatus status;
  status.name = "digits";
  status.enter(state::starting, "2 ranks", noon);
  status.enter(state::training, "", noon + 2s);
  status.enter(state::training, "again", noon + 3s);
  status.metrics["loss"] = 0.5;
  status.epoch = 1.5;
  status.exit_code = 75;
  const auto again = status_from_json(to_json(status), "x");
  ASSERT_EQ(again.transitions.size(), 2U);
  EXPECT_EQ(again.transitions[0].end, again.transitions[1].start);
  EXPECT_EQ(again.state(), "Training");
  EXPECT_EQ(again.metrics.at("loss"), 0.5);
  EXPECT_EQ(again.epoch, 1.5);
  EXPECT_EQ(again.exit_code, 75);
  EXPECT_FALSE(again.ended());
}

TEST(JobStatus, TellsTheUsefulShare) {
  JobStatus status;
  EXPECT_EQ(status.useful_share(), 1.0);
  status.run_seconds = 100;
  status.lost_seconds = 25;
  EXPECT_EQ(status.useful_share(), 0.75);
}

TEST(JobStatus, RefusesAFileThatIsNone) {
  try {
    status_from_json("{\"name\": 3}", "runs/a/status.json");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("runs/a/status.json does not describe a run"));
  }
}

TEST(JobStatus, ReadsTheLastMetricsOfEachKind) {
  const test::TemporaryDirectory directory;
  const auto file = directory.path() / "metrics.jsonl";
  EXPECT_FALSE(last_metrics(file).has_value());
  write_file_atomically(file,
                        "{\"step\":1,\"loss\":2.0}\n{\"step\":2,\"epoch\":1,\"val\":0.5}\n{"
                        "\"step\":3,\"loss\":1.0}\n{\"torn");
  const auto metrics = last_metrics(file);
  EXPECT_EQ(metrics->step, 3U);
  EXPECT_EQ(metrics->epoch, 1.0);
  EXPECT_EQ(metrics->values.at("loss"), 1.0);
  EXPECT_EQ(metrics->values.at("val"), 0.5);
}

TEST(RunDirectory, NamesAreNamesOfDirectories) {
  EXPECT_NO_THROW(check_run_name("mnist_2.b-3"));
  for (const char* bad : {"", ".hidden", "a/b", "a b", "ä"}) {
    EXPECT_THROW(check_run_name(bad), Error) << bad;
  }
}

TEST(RankLogs, KeepsAFilePerRankTheStreamAndTheTail) {
  const test::TemporaryDirectory directory;
  const RunFiles files{directory.path()};
  RankLogs logs(files, Console::nobody);
  for (int i = 0; i < 25; ++i) {
    logs.line({.rank = 1, .text = "line " + std::to_string(i)}, noon);
  }
  logs.line({.kind = RankEvent::Kind::error_output, .rank = 0, .text = "other"}, noon);
  logs.mark("resumed at step 7, restart 1", 1, noon);
  EXPECT_THAT(read_file(files.rank_log(1)), testing::StartsWith("line 0\nline 1\n"));
  EXPECT_EQ(read_file(files.rank_log(0)),
            "other\n--- " + iso_time(noon) + " resumed at step 7, restart 1 ---\n");
  EXPECT_THAT(read_file(files.merged_log()), HasSubstr(iso_time(noon) + " [rank 0] other\n"));
  const auto tail = logs.tail(1);
  EXPECT_EQ(tail.size(), 20U);
  EXPECT_EQ(tail.front(), "line 5");
  EXPECT_THAT(logs.tail(7), ElementsAre());
}

TEST(RankLogs, TheStreamKeepsTheTimeAndRankThatALineHas) {
  const test::TemporaryDirectory directory;
  const RunFiles files{directory.path()};
  RankLogs logs(files, Console::nobody);
  const std::string ours = "2026-11-28T17:01:41.563Z [rank 1] epoch 5/20";
  const std::string theirs = "2026-11-28T17:01:41.563Z a program's own line";
  logs.line({.rank = 1, .text = ours}, noon);
  logs.line({.rank = 1, .text = theirs}, noon);
  EXPECT_EQ(read_file(files.merged_log()),
            ours + "\n" + iso_time(noon) + " [rank 1] " + theirs + "\n");
}

// A progress line a second is no log of a day.
TEST(RankLogs, KeepsFewOfTheLinesThatReplaceEachOther) {
  const test::TemporaryDirectory directory;
  const RunFiles files{directory.path()};
  std::vector<std::string> heard;
  RankLogs logs(files, Console::nobody,
                [&](int /*rank*/, std::string_view line) { heard.emplace_back(line); });
  for (const char* text : {"10 %", "20 %", "30 %"}) {
    logs.line({.rank = 0, .text = text, .is_live = true}, noon);
  }
  logs.line({.rank = 0, .text = "done"}, noon);
  EXPECT_EQ(read_file(files.rank_log(0)), "10 %\ndone\n");
  EXPECT_THAT(heard, ElementsAre("10 %", "20 %", "30 %", "done")) << "metrics are read from all";
}

}  // namespace
}  // namespace muster
