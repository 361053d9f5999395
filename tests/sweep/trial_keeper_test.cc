// SPDX-License-Identifier: Apache-2.0
#include "launcher/worker/trial_keeper.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "runtime/base/error.h"
#include "runtime/comm/node_group.h"
#include "runtime/train/gradient_pool.h"
#include "tests/support/listener.h"
#include "tests/support/temporary_directory.h"

namespace muster::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

JobSettings small_job() {
  JobSettings job;
  job.model.hidden = "4";
  job.data.format = "synthetic";
  job.data.shape = "3";
  job.data.classes = 2;
  job.data.rows = 40;
  job.train.batch_size = 10;
  job.train.epochs = 2;
  return job;
}

/// A trial of 8 steps, which is saved after each.
class TrialKeeperTest : public testing::Test {
 protected:
  /// One launch of it.
  void train(TrialKeeper& keeper) {
    GradientPool::install();
    const auto model = make_model(job_.model, data_.train->shape(), 1);
    Listener nobody;
    Trainer trainer(job_,
                    TrainerParts{.model = *model,
                                 .train = *data_.train,
                                 .ranks = {*solo_, *across_, *world_},
                                 .keeper = &keeper},
                    nobody);
    keeper.bring(trainer, 0);
    trainer.run();
    EXPECT_EQ(trainer.step(), 8U);
  }
  std::unique_ptr<TrialKeeper> keeper() {
    return solo_keeper({.trial = 1,
                        .directory = directory_.path(),
                        .group = directory_.path() / "group",
                        .commit_seconds = 0},
                       nullptr, [this](const std::string& text) { remarks_.push_back(text); });
  }
  /// Nothing is there, and nothing can be made.
  void break_disk() const {
    std::filesystem::create_symlink(directory_.path() / "nowhere",
                                    directory_.path() / "checkpoints");
  }

  TemporaryDirectory directory_;
  JobSettings job_ = small_job();
  std::unique_ptr<NodeGroup> solo_ = solo_node_group();
  std::unique_ptr<Communicator> across_ = solo_communicator();
  std::unique_ptr<Communicator> world_ = solo_communicator();
  DataSets data_ = open_data(job_.data, *solo_);
  std::vector<std::string> remarks_;
};

TEST_F(TrialKeeperTest, ADiskThatRefusesIsToldOnceAndTheTrialGoesOn) {
  break_disk();
  const auto refused = keeper();
  train(*refused);
  EXPECT_THAT(remarks_, ElementsAre(HasSubstr("its state at step 1 was not saved; it goes on")));
  EXPECT_NE(refused->try_commit(), "");
  const auto kept = refused->take_snapshot();
  ASSERT_NE(kept, nullptr) << "it is in memory yet";
  EXPECT_EQ(kept->info().step, 8);
}

}  // namespace
}  // namespace muster::test
