// However a job is started, it is the same job: `muster train`, mpirun and one rank after another
// give the same bits.
// SPDX-License-Identifier: Apache-2.0
#include "tests/train/training_run.h"

namespace muster {
namespace {

using namespace test;

class SameModel : public TrainingRun {
 protected:
  Ending by_mpirun(const std::string& name, int ranks, const std::string& options,
                   const std::string& job = "configs/digits_mlp.ini") const {
    return shell("timeout 100 mpirun --allow-run-as-root --oversubscribe -np " +
                 std::to_string(ranks) + " " + program("muster-rank") + words(job, name, options));
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
