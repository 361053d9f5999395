// muster-rank as a program, alone: the same command again.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "tests/support/python.h"
#include "tests/train/training_run.h"

namespace muster {
namespace {

using namespace test;
using testing::HasSubstr;
using testing::Not;

class RankProgram : public TrainingRun {
 protected:
  Ending run(const std::string& options) const { return alone("digits", options); }
};

TEST_F(RankProgram, SaysThatARunIsFinishedAndLeavesItAlone) {
  const Ending first = run("");
  ASSERT_EQ(first.code, 0) << first.output;
  EXPECT_THAT(first.output, HasSubstr("finished after 46 steps"));
  const Path metrics = directory("digits") / "metrics.jsonl";
  const auto before = read_file_if_there(metrics);
  ASSERT_TRUE(before.has_value());
  const Ending again = run("--train.threads 2");
  EXPECT_EQ(again.code, 0) << again.output;
  EXPECT_THAT(again.output, HasSubstr("run 'digits' is finished already"));
  EXPECT_EQ(read_file_if_there(metrics), before);
}

TEST_F(RankProgram, KnowsAFinishedRunThatLeftNoCheckpoint) {
  const std::string bare = "--checkpoint.on_exit false --checkpoint.every never ";
  ASSERT_EQ(run(bare).code, 0);
  ASSERT_TRUE(std::filesystem::is_empty(directory("digits") / "checkpoints") ||
              !std::filesystem::exists(directory("digits") / "checkpoints"));
  const Ending again = run(bare);
  EXPECT_EQ(again.code, 0) << again.output;
  EXPECT_THAT(again.output, HasSubstr("run 'digits' is finished already"));
  const Ending further = run(bare + "--train.epochs 3");
  EXPECT_EQ(further.code, 0) << further.output;
  EXPECT_THAT(further.output, HasSubstr("finished after 69 steps"));
}

TEST_F(RankProgram, RefusesOtherSettingsUnderTheSameName) {
  ASSERT_EQ(run("").code, 0);
  const Ending other = run("--optimizer.lr 1");
  EXPECT_EQ(other.code, 64);
  EXPECT_THAT(other.output, HasSubstr("optimizer.lr"));
  EXPECT_THAT(other.output, HasSubstr("--name digits-2"));
}

// The best is the first epoch here: the loss falls, and the largest counts.
TEST_F(RankProgram, KeepsTheCheckpointOfTheBestBesideTheNewest) {
  const Ending ending =
      run("--train.epochs 5 --checkpoint.every_steps 23 --checkpoint.keep 1 --train.monitor 'max "
          "val_loss'");
  ASSERT_EQ(ending.code, 0) << ending.output;
  const Path kept = directory("digits") / "checkpoints";
  EXPECT_TRUE(std::filesystem::exists(kept / "step-00000023")) << ending.output;
  EXPECT_FALSE(std::filesystem::exists(kept / "step-00000046"));
  EXPECT_TRUE(std::filesystem::exists(kept / "step-00000115"));
  ASSERT_EQ(alone("one", "--train.epochs 5 --train.steps 23").code, 0);
  EXPECT_EQ(model("digits"), model("one")) << "model/ holds the best";
}

// Files of HDF5 that others open: names, shapes and values as the safetensors beside them.
TEST_F(RankProgram, LeavesAModelThatH5pyReads) {
  const auto python = test::python_with("numpy, h5py");
  if (!python) {
    GTEST_SKIP() << "no Python with numpy and h5py (Debian: python3-h5py)";
  }
  ASSERT_EQ(run("").code, 0);
  const Ending read =
      in_source(*python +
                " -c 'import h5py, sys; f = h5py.File(sys.argv[1]); f.visititems(lambda n, o: "
                "print(n, o.dtype, o.shape, float(o[...].sum())) if hasattr(o, \"dtype\") else "
                "None); print(f.attrs[\"samples\"], f.attrs[\"input_scale\"])' " +
                (directory("digits") / "model" / "model.h5").string());
  ASSERT_EQ(read.code, 0) << read.output;
  EXPECT_THAT(read.output, HasSubstr("layers.0.weight float32 (64, 64)"));
  EXPECT_THAT(read.output, HasSubstr("layers.1.bias float32 (10,)"));
  EXPECT_THAT(read.output, HasSubstr("features 1 x 8 x 8 float32, labels in 10 classes 0.0625"));
  EXPECT_THAT(read.output, Not(HasSubstr("nan")));
}

// In Python it is the same function: of values made as it says itself, as right as it was.
TEST_F(RankProgram, LeavesAModelThatTorchLoads) {
  const auto python = test::python_with("h5py, torch");
  if (!python) {
    GTEST_SKIP() << "there is no Python with torch and h5py (./bootstrap peers makes one)";
  }
  ASSERT_EQ(run("--data.validation same --data.validation_features_name features "
                "--data.validation_labels_name labels --train.monitor 'max val_accuracy'")
                .code,
            0);
  const Ending asked = in_source(
      *python +
      " -c 'import h5py, sys, torch; f = h5py.File(\"configs/data/digits.h5\"); "
      "e = {\"muster.txt\": \"\"}; m = torch.jit.load(sys.argv[1], _extra_files=e); "
      "n = dict(l.split(\" = \") for l in e[\"muster.txt\"].decode().splitlines()); "
      "x = torch.tensor(f[\"features\"][...]) * float(n[\"input_scale\"]) + "
      "float(n[\"input_shift\"]); "
      "print((m(x).argmax(1) == torch.tensor(f[\"labels\"][...])).double().mean().item())' " +
      (directory("digits") / "model" / "model.pt").string() + " 2> /dev/null");
  ASSERT_EQ(asked.code, 0) << asked.output;
  const auto accuracies = metric("digits", "val_accuracy");
  EXPECT_NEAR(std::stod(asked.output), *std::ranges::max_element(accuracies), 1e-3);
}

// With the shell's own terminal: progress takes one line, and what stays is told above it.
TEST_F(RankProgram, DrawsProgressInPlaceOnATerminal) {
  if (in_source("command -v script").code != 0) {
    GTEST_SKIP() << "a terminal needs script (bsdutils)";
  }
  const std::string job = "configs/digits_mlp.ini --train.epochs 2 --runs " + root().string();
  for (const std::string& program_words :
       {program("muster-rank") + " " + job + " --name alone",
        program("muster") + " train " + job + " --name led --ranks 2"}) {
    const Ending ending =
        in_source("timeout 100 script -qec \"stty cols 40; " + program_words + "\" /dev/null");
    EXPECT_EQ(ending.code, 0) << ending.output;
    const std::string drawn = "\r\x1b[Kepoch 1/2  step 1/46  loss ";
    const std::size_t at = ending.output.find(drawn);
    ASSERT_NE(at, std::string::npos) << ending.output;
    const std::size_t end = ending.output.find('\r', at + 1);
    EXPECT_EQ(end - at, drawn.substr(0, 4).size() + 39) << "cut to the width";
    EXPECT_EQ(ending.output.substr(end, 4), "\r\x1b[K") << "and cleared for what follows";
    EXPECT_THAT(ending.output, HasSubstr("epoch 2/2  step 46/46"));
  }
}

}  // namespace
}  // namespace muster
