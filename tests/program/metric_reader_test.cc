// SPDX-License-Identifier: Apache-2.0
#include "launcher/program/metric_reader.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>

#include "runtime/base/error.h"
#include "tests/support/temporary_directory.h"

namespace muster {
namespace {

using Points = std::vector<MetricPoint>;

std::string error_of(const std::string& expression) {
  try {
    const LineMetrics metrics(LineMetrics::Definitions{{"loss", expression}});
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(LineMetrics, TakesTheFirstGroupAsANumber) {
  LineMetrics metrics({{"loss", "loss[:=] *([-+0-9.eE]+)"}, {"accuracy", "acc=([^ ]+)"}});
  EXPECT_EQ(metrics.read("epoch 3 loss: 0.25 acc=0.9"),
            (Points{{"loss", 0.25, {}}, {"accuracy", 0.9, {}}}));
  EXPECT_TRUE(metrics.read("nothing here").empty());
  EXPECT_TRUE(metrics.complaints().empty());
}

TEST(LineMetrics, SaysWhatNeverMatchedAndWhatWasNoNumber) {
  LineMetrics metrics({{"loss", "LOSS=([0-9.]+)"}, {"accuracy", "acc=([^ ]+)"}});
  metrics.read("loss=0.2 acc=high");
  EXPECT_EQ(metrics.complaints(),
            (std::vector<std::string>{
                "metric loss: no line of the output matched LOSS=([0-9.]+)",
                "metric accuracy: acc=([^ ]+) matched 'high', which is not a number"}));
}

TEST(LineMetrics, ReadsNotANumberAsOne) {
  LineMetrics metrics(LineMetrics::Definitions{{"loss", "loss=([^ ]+)"}});
  const auto points = metrics.read("loss=nan");
  ASSERT_EQ(points.size(), 1U);
  EXPECT_TRUE(std::isnan(points[0].value));
}

TEST(LineMetrics, SurvivesALineOfAMegabyte) {
  LineMetrics metrics(LineMetrics::Definitions{{"loss", ".*loss=([0-9]+)"}});
  EXPECT_NO_THROW(metrics.read(std::string(1 << 20, 'x')));
}

TEST(LineMetrics, RefusesExpressionsThatCannotServe) {
  EXPECT_EQ(error_of("loss=[0-9]+"),
            "trial.metric.loss = loss=[0-9]+: it needs a group in parentheses around the number, "
            "as in accuracy=([0-9.]+)");
  EXPECT_EQ(error_of("loss=([0-9").substr(0, 60),
            "trial.metric.loss = loss=([0-9: not a regular expression: Un");
}

class FileMetricsTest : public testing::Test {
 protected:
  void SetUp() override { file_ = root_ / "metrics.jsonl"; }
  void append(std::string_view text) {
    posix_file_system().open(file_, OpenMode::append)->append(as_bytes(text));
  }
  test::TemporaryDirectory directory_;
  const Path root_ = directory_.path();
  Path file_;
};

TEST_F(FileMetricsTest, ReadsWhatWasAppendedAndWaitsForTheNewline) {
  FileMetrics metrics(file_, "");
  EXPECT_TRUE(metrics.read_new().empty());
  append("{\"step\":3,\"val_accuracy\":0.91}\n{\"step\":4,\"val_acc");
  EXPECT_EQ(metrics.read_new(), (Points{{"val_accuracy", 0.91, 3}}));
  append("uracy\":0.92}\n");
  EXPECT_EQ(metrics.read_new(), (Points{{"val_accuracy", 0.92, 4}}));
}

TEST_F(FileMetricsTest, TheResourceKeyBeatsTheStep) {
  FileMetrics metrics(file_, "epochs");
  append("{\"step\":300,\"epochs\":3,\"loss\":1}\n{\"step\":7,\"loss\":2}\n{\"loss\":3}\n");
  EXPECT_EQ(metrics.read_new(), (Points{{"loss", 1, 3}, {"loss", 2, 7}, {"loss", 3, {}}}));
}

TEST_F(FileMetricsTest, TakesWhatPythonPrintsAndComplainsOfTheRest) {
  FileMetrics metrics(file_, "");
  append("{\"loss\": NaN, \"gap\": -Infinity, \"name\": \"x\"}\nnot json\n");
  const auto points = metrics.read_new();
  ASSERT_EQ(points.size(), 2U);
  EXPECT_TRUE(std::isnan(points[0].value));
  EXPECT_EQ(points[1].value, -std::numeric_limits<double>::infinity());
  EXPECT_EQ(metrics.complaints(),
            std::vector<std::string>{file_.string() + ":2: not a JSON object: not json"});
}

}  // namespace
}  // namespace muster
