// What a run on a GPU saves, and goes on from.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "runtime/base/log.h"
#include "runtime/train/gpu_mover.h"
#include "runtime/train/gpu_step.h"
#include "tests/gpu/stand_in.h"

namespace muster::test {
namespace {

using testing::HasSubstr;

/// Keeps the state of one step, as a checkpoint does: later, while training goes on.
class Keeper final : public StateKeeper {
 public:
  Keeper(Trainer*& trainer, std::uint64_t step) : trainer_(trainer), step_(step) {}
  bool due(std::uint64_t step) override { return step == step_; }
  void save(const StateTree& tree, std::uint64_t step, std::optional<double> /*score*/) override {
    kept = std::make_unique<Snapshot>(Plan::make(tree));
    there = kept->begin(tree, trainer_->checkpoint_info(), trainer_->mover());
    at = step;
  }
  std::unique_ptr<Snapshot> kept;
  std::function<void()> there;
  std::uint64_t at = 0;

 private:
  Trainer*& trainer_;
  std::uint64_t step_;
};

TEST(GpuTraining, ContinuesFromACheckpointThatWasTakenUnderWay) {
  at::set_num_threads(1);
  for (const std::string amp : {"none", "fp16"}) {
    JobSettings job = mlp_job();
    job.train.amp = amp;
    job.train.epochs = 4;
    const auto solo = solo_node_group();
    const auto world = solo_communicator();
    const auto across = solo_communicator();
    const DataSets data = open_data(job.data, *solo);
    Listener listener;
    const auto gpu = host_gpu();
    const auto parts = [&](Model& model, StateKeeper* keeper) {
      return TrainerParts{.model = model,
                          .train = *data.train,
                          .ranks = {*solo, *across, *world},
                          .keeper = keeper,
                          .gpu = {.gpu = gpu.get()}};
    };
    Trainer* running = nullptr;
    Keeper keeper(running, 10);
    const auto model = make_model(job.model, data.train->shape(), 7);
    Trainer whole(job, parts(*model, &keeper), listener);
    running = &whole;
    whole.run();
    ASSERT_EQ(keeper.at, 10U);
    keeper.there();  // only now: the copies were made as late as they may be

    const auto again = make_model(job.model, data.train->shape(), 8);
    Trainer resumed(job, parts(*again, nullptr), listener);
    keeper.kept->restore(resumed.state(), resumed.mover());
    resumed.restored();
    EXPECT_EQ(resumed.step(), 10U);
    resumed.run();
    EXPECT_EQ(parameters_of(whole, *model), parameters_of(resumed, *again)) << amp;
  }
}

/// Asks for a checkpoint in the middle of a block.
class Asker final : public StateKeeper {
 public:
  bool due(std::uint64_t step) override {
    if (step == 100) {
      ++control.checkpoint_hint;
    }
    return false;
  }
  void save(const StateTree& /*tree*/, std::uint64_t step,
            std::optional<double> /*score*/) override {
    saved.push_back(step);
  }
  ControlHeader control;
  std::vector<std::uint64_t> saved;
};

/// Steps of a block hear of it one after the other.
TEST(GpuTraining, WhoAsksForACheckpointGetsOne) {
  at::set_num_threads(1);
  JobSettings job = mlp_job();
  job.data.rows = 64 * 32;
  job.train.epochs = 4;
  job.train.short_ms = 1e6;
  for (const int steps : {1, 5}) {
    job.train.graph_steps = steps;
    const auto solo = solo_node_group();
    const auto world = solo_communicator();
    const auto across = solo_communicator();
    const DataSets data = open_data(job.data, *solo);
    const auto model = make_model(job.model, data.train->shape(), 7);
    Listener listener;
    const auto gpu = host_gpu();
    Asker asker;
    Trainer trainer(job,
                    {.model = *model,
                     .train = *data.train,
                     .ranks = {*solo, *across, *world},
                     .control = &asker.control,
                     .keeper = &asker,
                     .gpu = {.gpu = gpu.get()}},
                    listener);
    trainer.run();
    EXPECT_EQ(trainer.gpu_mode(),
              steps == 1 ? "graph of one step" : fmt::format("graph of {} steps", steps));
    EXPECT_THAT(asker.saved, testing::SizeIs(1)) << steps;
  }
}

/// Few rates lie on the GPU: those of steps far off, across pieces, and of steps before.
TEST(GpuTraining, EachStepHasItsRateHoweverLongTheRun) {
  const auto solo = solo_node_group();
  const auto world = solo_communicator();
  const DataSets data = open_data(mlp_job().data, *solo);
  const auto gpu = host_gpu();
  for (const std::uint64_t start :
       {std::uint64_t{2}, std::uint64_t{4093}, std::uint64_t{1} << 33}) {
    const auto model = make_model(mlp_job().model, data.train->shape(), 7);
    GpuStep step(*model, *data.train, Loss{}, {.gpu = gpu.get()}, *world,
                 {.batch = 32,
                  .schedule = {.kind = ScheduleRule::Kind::step, .every = start + 4, .factor = 0}},
                 [](const std::string& text) { FAIL() << text; });
    const auto parameters = [&] {
      std::vector<float> all;
      step.on_host([&] {
        const at::Tensor first = model->parameters().front().tensor.detach().contiguous();
        const auto* values = first.const_data_ptr<float>();
        all.assign(values, values + first.numel());
      });
      return all;
    };
    for (const std::uint64_t from : {start, start, std::uint64_t{0}}) {
      step.seek(from, from);
      for (std::uint64_t at = from; at < from + 8; ++at) {
        const std::vector<float> before = parameters();
        step.step(1, {});
        step.drain();
        EXPECT_EQ(parameters() != before, at < start + 4) << "step " << at;
      }
    }
  }
}

/// The second of two that are under way at once finds none, and is copied at once.
TEST(GpuMover, DoesWithoutPinnedMemory) {
  std::vector<std::string> lines;
  log::set_sink([&](log::Level /*level*/, std::string_view line) { lines.emplace_back(line); });
  std::vector<std::string> trace;
  const auto gpu = host_gpu({.pinned = 150, .trace = &trace});
  std::vector<std::byte> state(100);
  GpuMover mover(*gpu);
  std::array<std::vector<std::byte>, 4> images;
  std::array<std::function<void()>, 4> there;
  for (std::size_t save = 0; save < images.size(); ++save) {
    images.at(save).resize(state.size());
    std::ranges::fill(state, static_cast<std::byte>(save + 1));
    mover.out(images.at(save), {}, state);
    there.at(save) = mover.finish_later();
    if (save % 2 == 0) {
      continue;
    }
    std::ranges::fill(state, std::byte{});
    for (const std::size_t due : {save - 1, save}) {
      std::exchange(there.at(due), {})();
      EXPECT_THAT(images.at(due), testing::Each(static_cast<std::byte>(due + 1)));
    }
  }
  log::set_sink({});
  EXPECT_THAT(lines, testing::ElementsAre(HasSubstr("the host has no pinned memory")));
  EXPECT_EQ(std::ranges::count(trace, "record copy"), 2) << "the first of each two is staged";
}

}  // namespace
}  // namespace muster::test
