// What users get wrong, on two ranks: a sentence with file, place and remedy, the exit code of a
// user's mistake, and no rank that hangs.
// SPDX-License-Identifier: Apache-2.0
#include "tests/train/training_run.h"

namespace muster {
namespace {

using namespace test;
using testing::HasSubstr;

class BadInput : public TrainingRun {
 protected:
  /// On two ranks `options` are refused with all of `texts`.
  void expect_refusal(const std::string& options, const std::vector<std::string>& texts,
                      const std::string& job = "configs/digits_mlp.ini", int code = 64) const {
    const Ending ending = supervised("bad", 2, options, job);
    EXPECT_EQ(ending.code, code) << ending.output;
    for (const std::string& text : texts) {
      EXPECT_THAT(ending.output, HasSubstr(text));
    }
    EXPECT_THAT(read_file_if_there(directory("bad") / "failure").value_or(""),
                HasSubstr(texts.front()))
        << "the failure file says it too";
  }
  static std::string of_csv(const Path& path) {
    return "--data.path " + path.string() + " --train.batch_size 8 ";
  }
};

TEST_F(BadInput, AFileThatIsCutShort) {
  const std::string digits =
      read_file(Path(std::getenv("MUSTER_SOURCE")) / "configs/data/digits.h5");
  const Path cut = root() / "cut.h5";
  write_file_atomically(cut, digits.substr(0, digits.size() / 2));
  expect_refusal("--data.path " + cut.string(), {"cut.h5", "cut short or damaged", "again"});
}

TEST_F(BadInput, ACutArrayOfNumpy) {
  std::string head = "{'descr': '<f4', 'fortran_order': False, 'shape': (64, 3), }";
  head.resize(117, ' ');
  head += '\n';
  const Path features = root() / "x.npy";
  const std::string magic("\x93NUMPY\x01\x00\x76\x00", 10);
  write_file_atomically(features, magic + head + std::string(100, '\0'));
  write_file_atomically(root() / "y.npy", magic + head + std::string(768, '\0'));
  expect_refusal(
      "--data.path " + features.string() + " --data.labels " + (root() / "y.npy").string(),
      {"x.npy", "cut short", "again"});
}

TEST_F(BadInput, TheWrongShape) {
  expect_refusal("--data.shape '1 9 9'", {"data.shape = 1 9 9 has 81 values", "has 64"});
}

/// Nothing came of it that other settings could spoil.
TEST_F(BadInput, AMistakeIsMendedUnderTheSameName) {
  const std::string mended = " --train.steps 2";
  expect_refusal("--data.shape '1 9 9'" + mended, {"has 64"});
  const Ending two = supervised("bad", 2, mended);
  EXPECT_EQ(two.code, 0) << two.output;
  EXPECT_NE(alone("one", "--model.kind mpl").code, 0);
  const Ending one = alone("one", mended);
  EXPECT_EQ(one.code, 0) << one.output;
  EXPECT_FALSE(posix_file_system().exists(directory("one") / "failure")) << "it is overcome";
}

TEST_F(BadInput, TheWrongType) {
  expect_refusal(of_csv(csv("text.csv", 40, "1,two,0", 20)), {"text.csv", "two"});
}

TEST_F(BadInput, AFileThatIsNoneOfItsFormat) {
  write_file_atomically(root() / "no.h5", "these are words, not HDF5");
  expect_refusal("--data.path " + (root() / "no.h5").string(), {"no.h5", "no HDF5 file"});
}

TEST_F(BadInput, AValueThatIsNoNumber) {
  expect_refusal(of_csv(csv("nan.csv", 40, "nan,1,0", 20)) + "--data.validation_fraction 0",
                 {"nan.csv", "row 20", "data.check_values"});
}

TEST_F(BadInput, ALabelOutOfRange) {
  expect_refusal("--data.classes 5",
                 {"digits.h5", "row ", "none of the 5 classes (0 to 4)", "data.classes"});
}

TEST_F(BadInput, ALabelOfAClassThatCannotBe) {
  expect_refusal(of_csv(csv("minus.csv", 40, "1,1,-1", 20)),
                 {"minus.csv", "row 20: label -1 is negative", "data.task = values"});
}

TEST_F(BadInput, AMonitorThatNothingIsCalled) {
  expect_refusal("--train.monitor 'max val_acc'",
                 {"nothing here is called 'val_acc'",
                  "train_loss, lr, val_loss, val_accuracy, and train.metric adds others"});
}

TEST_F(BadInput, FreezingEverything) {
  expect_refusal("--model.freeze '*'", {"model.freeze = *", "nothing is left to train"});
}

TEST_F(BadInput, ABatchLargerThanTheSet) {
  expect_refusal("--train.batch_size 5000", {"train.batch_size = 5000 is larger than the set"});
}

TEST_F(BadInput, FewerSamplesThanRanks) {
  expect_refusal("--data.path " + csv("one.csv", 1).string() +
                     " --train.batch_size 1 --data.validation_fraction 0 --train.monitor auto "
                     "--data.classes 2",
                 {"1 rows, fewer than the 2 ranks", "use fewer ranks"});
}

TEST_F(BadInput, BatchNormWithOneValueAChannelOnARank) {
  expect_refusal("--model.kind resnet18 --model.width 4 --train.batch_size 2", {"batch norm"},
                 "configs/digits_cnn.ini");
}

TEST_F(BadInput, ATorchScriptFileThatDoesNotMatchTheData) {
  const Ending first = alone("first", "--train.epochs 1");
  ASSERT_EQ(first.code, 0) << first.output;
  expect_refusal("--model.kind torchscript --model.file " +
                     (directory("first") / "model" / "model.pt").string() + " " +
                     of_csv(csv("two.csv", 40)),
                 {"model.pt"});
}

TEST_F(BadInput, ASharedObjectBuiltAgainstOtherHeaders) {
  expect_refusal("--model.kind plugin:" + std::string(OLD_PLUGIN), {"old_plugin", "build"});
}

TEST_F(BadInput, AModelThatNoMemoryHolds) {
  expect_refusal("--model.hidden 2000000000", {"out of memory: 512", "make the model"},
                 "configs/digits_mlp.ini", 1);
}

// A file system of its own that is full once the run is under way.
TEST_F(BadInput, AFullDiskWhileWritingMetrics) {
  if (in_source("unshare --mount true").code != 0) {
    GTEST_SKIP() << "a small file system needs root";
  }
  const std::string small = (root() / "small").string();
  const Ending ending = in_source(
      "mkdir " + small +
      " && timeout 100 unshare --mount sh -c 'mount -t tmpfs -o size=64k tmpfs " + small +
      " && exec \"$@\"' sh " + program("muster") + " train configs/digits_mlp.ini --runs " + small +
      " --name full --ranks 2 --train.report_every 1 --train.epochs 200 --train.progress "
      "false --train.tensorboard false --train.threads 1 --checkpoint.every never "
      "--train.evaluate_every 0");
  EXPECT_EQ(ending.code, 1) << ending.output;
  EXPECT_THAT(ending.output, HasSubstr("metrics.jsonl"));
  EXPECT_THAT(ending.output, HasSubstr("No space left on device"));
}

}  // namespace
}  // namespace muster
