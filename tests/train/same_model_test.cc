// However a job is started, it is the same job: `muster train`, mpirun and one rank after another
// give the same bits.
// SPDX-License-Identifier: Apache-2.0
#include "tests/train/training_run.h"

namespace muster {
namespace {

using namespace test;
using testing::HasSubstr;

class SameModel : public TrainingRun {
 protected:
  Ending by_mpirun(const std::string& name, int ranks, const std::string& options,
                   const std::string& job = "configs/digits_mlp.ini") const {
    return in_source("timeout 100 mpirun --allow-run-as-root --oversubscribe -np " +
                     std::to_string(ranks) + " " + program("muster-rank") +
                     words(job, name, options));
  }
  void expect_same_files(const std::string& one, const std::string& other) const {
    for (const std::string file : {"model.safetensors", "model.h5"}) {
      EXPECT_TRUE(read_file(directory(one) / "model" / file) ==
                  read_file(directory(other) / "model" / file))
          << file;
    }
    EXPECT_EQ(metric(one, "train_loss"), metric(other, "train_loss"));
    EXPECT_EQ(metric(one, "val_accuracy"), metric(other, "val_accuracy"));
  }
};

TEST_F(SameModel, ByMusterAndByMpirun) {
  const Ending ours = supervised("ours", 2, "");
  ASSERT_EQ(ours.code, 0) << ours.output;
  const Ending theirs = by_mpirun("theirs", 2, "");
  ASSERT_EQ(theirs.code, 0) << theirs.output;
  expect_same_files("ours", "theirs");
}

// Eight cores for two ranks are four threads each, whoever has bound them before, and not fewer
// once waiting ranks have moved onto cores of their own.
TEST_F(SameModel, HasTheThreadsOfItsShareOfTheCores) {
  const auto threads = [&](const std::string& launcher, const std::string& name,
                           const std::string& options) {
    const Ending ending =
        in_source("timeout 100 " + launcher +
                  " configs/digits_mlp.ini --train.steps 1 --train.progress false "
                  "--runs '" +
                  root().string() + "' --name " + name + " " + options);
    EXPECT_EQ(ending.code, 0) << ending.output;
    return ending.output;
  };
  const std::string mpirun = "mpirun --allow-run-as-root --oversubscribe -np 2 -x LD_PRELOAD=";
  EXPECT_THAT(
      threads("env LD_PRELOAD=" MANY_CORES " " + program("muster") + " train", "ours", "--ranks 2"),
      HasSubstr("on 2 ranks, 4 threads each"));
  const std::string bound = mpirun + MANY_CORES " -x MANY_CORES_BOUND=1 " + program("muster-rank");
  EXPECT_THAT(threads(bound, "bound", ""), HasSubstr("on 2 ranks, 4 threads each"));
  EXPECT_THAT(threads(bound, "left", "--bind false"), HasSubstr("on 2 ranks, 1 thread each"));
}

TEST_F(SameModel, StrictOnAnyNumberOfRanksByAnyLauncher) {
  const std::string job = "configs/synthetic_strict.ini";
  ASSERT_EQ(alone("one", "", job).code, 0);
  const Ending two = by_mpirun("two", 2, "", job);
  ASSERT_EQ(two.code, 0) << two.output;
  const Ending three = supervised("three", 3, "", job);
  ASSERT_EQ(three.code, 0) << three.output;
  expect_same_files("one", "two");
  expect_same_files("one", "three");
}

}  // namespace
}  // namespace muster
