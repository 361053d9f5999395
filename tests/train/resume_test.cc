/// A resumed run against one that nobody disturbed: what both leave behind is compared as the bytes
/// of a checkpoint, which hold parameters, optimiser state, buffers, counters, sums and the best so
/// far, and do not depend on the number of ranks.
// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <set>

#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/checkpoint/checkpoint_engine.h"
#include "tests/support/temporary_directory.h"
#include "tests/train/agreement.h"

namespace muster {
namespace {

using namespace test;
using testing::Each;
using testing::IsEmpty;

constexpr std::int64_t every_step = 1;

EngineOptions engine_options(const Path& directory) {
  return {.directory = directory, .interval = {.steps = every_step}, .keep = 1000};
}

/// Keeps every step of a run.
class KeepAll final : public StateKeeper {
 public:
  KeepAll(CheckpointEngine& engine, Trainer*& trainer) : engine_(engine), trainer_(trainer) {}
  bool due(std::uint64_t) override { return true; }
  void save(const StateTree& tree, std::uint64_t step, std::optional<double> score) override {
    CheckpointInfo info = trainer_->checkpoint_info();
    info.step = static_cast<std::int64_t>(step);
    info.score = score;
    engine_.save_now(tree, info);
  }

 private:
  CheckpointEngine& engine_;
  Trainer*& trainer_;
};

/// Runs `job` to its end as one rank of `group`, from what lies in `from` if anything does, and
/// leaves its last state in `end`. With `steps`, every step on the way is kept there.
void run_to_end(const JobSettings& job, LocalGroup& group, const Path& from, const Path& end,
                const Path& steps = {}) {
  at::set_num_threads(1);
  NodeCommunicator world(group);
  const auto across = solo_communicator();
  const DataSets data = open_data(job.data, group);
  const auto model = make_model(job.model, data.train->shape(), job.train.seed);
  Listener observer;
  SystemClock clock;
  Trainer* self = nullptr;
  CheckpointEngine on_the_way(engine_options(steps), world, posix_file_system(), clock);
  KeepAll keeper(on_the_way, self);
  Trainer trainer(job,
                  {.model = *model,
                   .train = *data.train,
                   .validation = data.validation.get(),
                   .ranks = {group, *across, world},
                   .keeper = steps.empty() ? nullptr : &keeper},
                  observer);
  self = &trainer;
  if (!from.empty()) {
    CheckpointEngine source(engine_options(from), world, posix_file_system(), clock);
    demand(source.restore(trainer.state(), trainer.checkpoint_info()).has_value(),
           "nothing to resume from");
    trainer.restored();
  }
  if (!steps.empty()) {
    on_the_way.prepare(trainer.state());
  }
  demand(trainer.run() == TrainEnd::finished, "the run did not finish");
  CheckpointEngine last(engine_options(end), world, posix_file_system(), clock);
  last.prepare(trainer.state());
  last.save_now(trainer.state(), trainer.checkpoint_info());
}

class Resume : public testing::Test {
 protected:
  void SetUp() override {
    log::set_threshold(log::Level::error);
    GradientPool::install();
  }

  /// The bytes that a run of `ranks` ranks ends with.
  std::string finish(const JobSettings& job, int ranks, const Path& from = {},
                     const Path& steps = {}) {
    const Path end = root_ / ("end" + std::to_string(ends_++));
    const auto endings = run_threads(ranks, [&](LocalGroup& group) {
      try {
        run_to_end(job, group, from, end, steps);
      } catch (const std::exception& error) {
        group.abort(report(error));
        throw;
      }
    });
    EXPECT_THAT(endings, Each(IsEmpty()));
    const auto newest = CheckpointStore(end).newest();
    return newest ? read_file(*newest / "state.h5") : "";
  }

  /// A directory that holds the checkpoint of `step` alone.
  Path only(const Path& steps, std::int64_t step) {
    const Path source = CheckpointStore(steps).directory() / step_name(step);
    const Path alone = root_ / ("from" + std::to_string(ends_++));
    std::filesystem::create_directories(alone);
    std::filesystem::copy(source, alone / source.filename(),
                          std::filesystem::copy_options::recursive);
    return alone;
  }
  static std::string step_name(std::int64_t step) {
    std::string number = std::to_string(step);
    return "step-" + std::string(8 - number.size(), '0') + number;
  }

  /// Saving disturbs nothing, and the run from each of `steps` ends as the undisturbed one.
  void expect_exact(const JobSettings& job, int ranks, const std::set<std::int64_t>& steps) {
    const std::string undisturbed = finish(job, ranks);
    const Path kept = root_ / "steps";
    ASSERT_FALSE(undisturbed.empty());
    EXPECT_TRUE(finish(job, ranks, {}, kept) == undisturbed)
        << job.model.kind << ": saving changed the run";
    for (const std::int64_t step : steps) {
      EXPECT_TRUE(finish(job, ranks, only(kept, step)) == undisturbed)
          << job.model.kind << " on " << ranks << " ranks, resumed at step " << step;
    }
    std::filesystem::remove_all(kept);
  }

  test::TemporaryDirectory directory_{test::TemporaryDirectory::fast_parent()};
  const Path root_ = directory_.path();
  int ends_ = 0;
};

/// Two epochs of three steps, the last one ragged; with a validation set, so that the best and its
/// metrics are there too.
JobSettings small_job(const std::string& kind, const std::string& shape) {
  JobSettings job = job_of("24", 20);
  job.model.kind = kind;
  job.model.width = 4;
  job.data.shape = shape;
  job.data.classes = 4;
  job.data.validation_rows = 6;
  job.train.batch_size = 8;
  job.train.epochs = 2;
  job.optimizer.lr = 0.01;
  return job;
}

TEST_F(Resume, MlpAtEveryStepWithEverythingOn) {
  JobSettings job = small_job("mlp", "12");
  job.model.dropout = 0.2;
  job.optimizer.kind = "adamw";
  job.optimizer.weight_decay = 0.01;
  job.schedule.kind = "cosine";
  job.train.ema = 0.9;
  job.train.patience = 5;
  for (const int ranks : {1, 2}) {
    expect_exact(job, ranks, {1, 2, 3, 4, 5});
  }
}

TEST_F(Resume, LinearAtEveryStep) {
  JobSettings job = small_job("linear", "12");
  job.optimizer.momentum = 0.9;
  expect_exact(job, 1, {1, 2, 3, 4, 5});
  const std::string two_epochs = finish(job, 1);
  job.train.seed += 1;
  EXPECT_FALSE(finish(job, 1) == two_epochs) << "the comparison sees no difference";
}

TEST_F(Resume, CnnAtEveryStep) {
  JobSettings job = small_job("cnn", "1 8 8");
  job.model.dropout = 0.1;
  job.optimizer.momentum = 0.9;
  expect_exact(job, 1, {1, 2, 3, 4, 5});
  job.model.channels_last = true;
  expect_exact(job, 2, {2});
}

TEST_F(Resume, ResNetsWithTheirRunningStatistics) {
  for (const std::string kind : {"resnet18", "resnet50"}) {
    JobSettings job = small_job(kind, "3 16 16");
    job.optimizer.momentum = 0.9;
    expect_exact(job, 1, {1, 2, 3, 4, 5});
  }
}

TEST_F(Resume, ResNetOnTwoRanks) {
  expect_exact(small_job("resnet18", "3 16 16"), 2, {2});
}

TEST_F(Resume, GptAtEveryStep) {
  JobSettings job = small_job("gpt", "");
  job.data.task = "tokens";
  job.data.context = 8;
  job.data.vocabulary = job.data.classes = 16;
  job.model.depth = 2;
  job.model.embedding = 16;
  job.model.heads = 2;
  job.model.dropout = 0.1;
  job.optimizer.kind = "adamw";
  for (const int ranks : {1, 2}) {
    expect_exact(job, ranks, {1, 2, 3, 4, 5});
  }
}

TEST_F(Resume, BucketedExchangeToo) {
  JobSettings job = small_job("mlp", "12");
  job.train.exchange = "bucketed";
  job.optimizer.momentum = 0.9;
  expect_exact(job, 2, {2, 4});
}

TEST_F(Resume, StrictGivesEqualBitsFromAnyNumberOfRanksToAnyOther) {
  JobSettings job = small_job("mlp", "12");
  job.train.strict = true;
  job.model.dropout = 0.1;
  job.optimizer.momentum = 0.9;
  const Path kept = root_ / "steps";
  const std::string alone = finish(job, 1, {}, kept);
  for (const int ranks : {2, 3, 4}) {
    EXPECT_TRUE(finish(job, ranks) == alone) << ranks << " ranks, undisturbed";
    EXPECT_TRUE(finish(job, ranks, only(kept, 2)) == alone) << "1 to " << ranks << " ranks";
  }
  const Path of_four = root_ / "steps4";
  finish(job, 4, {}, of_four);
  for (const int ranks : {1, 2, 3}) {
    EXPECT_TRUE(finish(job, ranks, only(of_four, 4)) == alone) << "4 to " << ranks << " ranks";
  }
}

TEST_F(Resume, StrictResNetOnOtherRanks) {
  JobSettings job = small_job("resnet18", "3 16 16");
  job.train.strict = true;
  const Path kept = root_ / "steps";
  const std::string alone = finish(job, 1, {}, kept);
  EXPECT_TRUE(finish(job, 2, only(kept, 2)) == alone);
}

/// Without strict, sums are taken in another order: all that does not depend on that order is
/// equal.
TEST_F(Resume, AnotherNumberOfRanksKeepsSamplesOrderAndSchedule) {
  JobSettings job = small_job("mlp", "12");
  job.optimizer.lr = 1e-3;
  job.schedule.kind = "cosine";
  const Path kept = root_ / "steps";
  finish(job, 1, {}, kept);
  const Path from = only(kept, 2);
  std::vector<double> here;
  std::vector<double> there;
  for (auto [ranks, losses] : {std::pair(1, &here), std::pair(2, &there)}) {
    const auto endings = run_threads(ranks, [&](LocalGroup& group) {
      at::set_num_threads(1);
      NodeCommunicator world(group);
      const auto across = solo_communicator();
      const DataSets data = open_data(job.data, group);
      const auto model = make_model(job.model, data.train->shape(), job.train.seed);
      Listener observer;
      SystemClock clock;
      Trainer trainer(
          job, {.model = *model, .train = *data.train, .ranks = {group, *across, world}}, observer);
      CheckpointEngine source(engine_options(from), world, posix_file_system(), clock);
      const auto restored = source.restore(trainer.state(), trainer.checkpoint_info());
      trainer.restored();
      demand(restored && restored->warnings.size() == (ranks == 1 ? 0 : 1),
             "the change of ranks is said");
      demand(trainer.step() == 2, "another step");
      const auto mine = trainer.run_steps(4);
      if (group.rank() == 0) {
        *losses = mine;
      }
    });
    EXPECT_THAT(endings, Each(IsEmpty()));
  }
  EXPECT_LE(largest_difference(here, there), 1e-5);
  EXPECT_NE(here[0], here[1]);
}

}  // namespace
}  // namespace muster
