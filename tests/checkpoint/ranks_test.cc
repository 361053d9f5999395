/// Several ranks, one file.
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/ranks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "collectives/node/node_communicator.h"
#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/checkpoint/checkpoint_engine.h"
#include "runtime/checkpoint/save_schedule.h"
#include "tests/support/faulty_file_system.h"
#include "tests/support/memory_file_system.h"
#include "tests/support/sample_state.h"
#include "tests/support/temporary_directory.h"

namespace muster {
namespace {

using test::demand;
using test::Endings;
using test::Fate;
using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;

EngineOptions options() {
  return {.directory = "/run", .interval = {.steps = 1}, .poison = true};
}

/// Throws unless every slice and record of `state`, as rank `rank` of `ranks` sees it, is that of
/// `step`.
void demand_state_of(SampleState& state, std::int64_t step, int rank, int ranks) {
  SampleState right;
  right.fill(step);
  const StateTree now = state.tree(rank, ranks);
  const StateTree then = right.tree(rank, ranks);
  for (std::size_t i = 0; i < now.slices().size(); ++i) {
    demand(std::ranges::equal(now.slices()[i].bytes, then.slices()[i].bytes),
           now.slices()[i].name + " differs");
  }
  demand(state.step == right.step && state.generator == right.generator &&
             state.best == right.best && state.is_done == right.is_done,
         "a record differs");
}

/// Saves `steps` one after the other as one of the ranks of `group`.
void save_all(LocalGroup& group, FileSystem& files, const std::vector<std::int64_t>& steps,
              SaveCounts* counts = nullptr) {
  NodeCommunicator ranks(group);
  SystemClock clock;
  SampleState state;
  const StateTree tree = state.tree(ranks.rank(), ranks.size());
  CheckpointEngine engine(options(), ranks, files, clock);
  engine.prepare(tree);
  for (const std::int64_t step : steps) {
    state.fill(step);
    engine.save(tree, {.step = step});
    state.fill(step + 1000);  // what comes after must not get in
    engine.wait();
  }
  if (counts != nullptr) {
    *counts = engine.counts();
  }
}

void load_and_compare(LocalGroup& group, FileSystem& files, std::int64_t step) {
  NodeCommunicator ranks(group);
  SystemClock clock;
  SampleState state;
  StateTree tree = state.tree(ranks.rank(), ranks.size());
  CheckpointEngine engine(options(), ranks, files, clock);
  const auto restored = engine.restore(tree, {});
  demand(restored.has_value(), "nothing was restored");
  demand(restored->info.step == step,
         "step " + std::to_string(restored->info.step) + " was restored");
  demand_state_of(state, step, ranks.rank(), ranks.size());
}

class Ranks : public testing::Test {
 protected:
  void SetUp() override {
    log::set_sink([](log::Level, std::string_view) {});
  }
  void TearDown() override { log::set_sink({}); }
  test::MemoryFileSystem disk_;
};

TEST_F(Ranks, SavedByAnyNumberIsLoadedByAnyNumber) {
  std::string first_file;
  for (int writers = 1; writers <= 4; ++writers) {
    test::MemoryFileSystem disk;
    EXPECT_THAT(test::run_threads(writers, [&](LocalGroup& group) { save_all(group, disk, {7}); }),
                Each(IsEmpty()));
    for (int readers = 1; readers <= 4; ++readers) {
      EXPECT_THAT(
          test::run_threads(readers, [&](LocalGroup& group) { load_and_compare(group, disk, 7); }),
          Each(IsEmpty()))
          << writers << " to " << readers;
    }
    const std::string file = read_file("/run/step-00000007/state.h5", disk);
    first_file = writers == 1 ? file : first_file;
    EXPECT_TRUE(file == first_file) << "the file depends on the number of ranks";
  }
}

TEST_F(Ranks, AreProcessesAsWell) {
  const test::TemporaryDirectory directory;
  const auto body = [&](LocalGroup& group) {
    NodeCommunicator ranks(group);
    SystemClock clock;
    SampleState state;
    StateTree tree = state.tree(ranks.rank(), ranks.size());
    CheckpointEngine engine({.directory = directory.path(), .interval = {.steps = 1}}, ranks,
                            posix_file_system(), clock);
    engine.prepare(tree);
    for (std::int64_t step = 1; step <= 5; ++step) {
      state.fill(step);
      engine.save_now(tree, {.step = step});
    }
    state.fill(99);
    demand(engine.restore(tree, {})->info.step == 5, "not the newest");
    demand(engine.last_committed() == 5, "another step was committed last");
    demand_state_of(state, 5, ranks.rank(), ranks.size());
  };
  EXPECT_THAT(test::run_processes(2, body), Each(IsEmpty()));
  EXPECT_EQ(CheckpointStore(directory.path()).list(Scrutiny::full).size(), 3U);
}

TEST_F(Ranks, GoOnWhenOneOfThemCannotWrite) {
  for (const std::string_view broken : {"write", "sync"}) {
    test::MemoryFileSystem disk;
    std::vector<SaveCounts> counts(3);
    const auto endings = test::run_threads(3, [&](LocalGroup& group) {
      const bool is_victim = group.rank() == 2;
      std::string fails;
      test::FaultyFileSystem files(disk, [&](std::string_view operation, const Path& path) {
        return is_victim && operation == fails && path.filename() != "parts" ? Fate{ENOSPC}
                                                                             : Fate{};
      });
      NodeCommunicator ranks(group);
      SystemClock clock;
      SampleState state;
      StateTree tree = state.tree(ranks.rank(), ranks.size());
      CheckpointEngine engine(options(), ranks, files, clock);
      engine.prepare(tree);
      for (const std::int64_t step : {1, 2, 3}) {
        state.fill(step);
        fails = step == 2 ? broken : "";
        engine.save(tree, {.step = step});
        engine.wait();
        if (step == 2) {
          demand(engine.last_committed() == 1, "a failed save was taken for a checkpoint");
        }
      }
      counts[static_cast<std::size_t>(ranks.rank())] = engine.counts();
    });
    EXPECT_THAT(endings, Each(IsEmpty()));
    EXPECT_EQ(counts[0].committed, 2U);
    EXPECT_EQ(counts[1].failed, 1U);
    EXPECT_THAT(test::run_threads(2, [&](LocalGroup& group) { load_and_compare(group, disk, 3); }),
                Each(IsEmpty()));
  }
}

/// Not even its message gets through: the others learn of it when they next agree on something.
TEST_F(Ranks, DoNotWaitForOneThatCannotEvenSaySo) {
  const auto endings = test::run_threads(2, [&](LocalGroup& group) {
    std::atomic<bool> fails{false};
    test::FaultyFileSystem files(disk_, [&](std::string_view operation, const Path&) {
      return fails && operation == "write" && group.rank() == 1 ? Fate{EIO} : Fate{};
    });
    NodeCommunicator ranks(group);
    SystemClock clock;
    SampleState state;
    StateTree tree = state.tree(ranks.rank(), ranks.size());
    CheckpointEngine engine(options(), ranks, files, clock);
    engine.prepare(tree);
    state.fill(1);
    engine.save_now(tree, {.step = 1});
    fails = true;
    state.fill(2);
    demand(engine.save(tree, {.step = 2}), "the save did not begin");
    engine.wait();
    fails = false;
    state.fill(3);
    engine.save_now(tree, {.step = 3});
  });
  EXPECT_THAT(endings, Each(IsEmpty()));
  EXPECT_THAT(test::run_threads(1, [&](LocalGroup& group) { load_and_compare(group, disk_, 3); }),
              Each(IsEmpty()));
}

TEST_F(Ranks, FailTogetherWhenTheFinalSaveFails) {
  const auto endings = test::run_threads(2, [&](LocalGroup& group) {
    test::FaultyFileSystem files(disk_, [&](std::string_view operation, const Path&) {
      return operation == "rename" ? Fate{EIO} : Fate{};
    });
    NodeCommunicator ranks(group);
    SystemClock clock;
    SampleState state;
    StateTree tree = state.tree(ranks.rank(), ranks.size());
    CheckpointEngine engine(options(), ranks, files, clock);
    engine.prepare(tree);
    engine.save_now(tree, {.step = 1});
  });
  EXPECT_THAT(endings, Each(HasSubstr("saving the checkpoint of step 1")));
}

TEST_F(Ranks, SkipTogetherWhenTheFirstCannotBegin) {
  const auto endings = test::run_threads(3, [&](LocalGroup& group) {
    bool fails = false;
    test::FaultyFileSystem files(disk_, [&](std::string_view operation, const Path&) {
      return fails && operation == "make_directory" ? Fate{EROFS} : Fate{};
    });
    NodeCommunicator ranks(group);
    SystemClock clock;
    SampleState state;
    StateTree tree = state.tree(ranks.rank(), ranks.size());
    CheckpointEngine engine(options(), ranks, files, clock);
    engine.prepare(tree);
    fails = true;
    demand(!engine.save(tree, {.step = 1}), "a save began on a read-only disk");
    fails = false;
    demand(engine.save(tree, {.step = 2}), "the next save did not begin");
    engine.wait();
    demand(engine.last_committed() == 2, "the next save was not committed");
  });
  EXPECT_THAT(endings, Each(IsEmpty()));
}

TEST_F(Ranks, FallBackTogetherWhenOneOfThemReadsDamage) {
  const auto save = [&](LocalGroup& group) { save_all(group, disk_, {1, 2}); };
  EXPECT_THAT(test::run_threads(2, save), Each(IsEmpty()));
  auto file = disk_.open("/run/step-00000002/state.h5", OpenMode::read_write);
  std::byte last{};
  file->read_at(file->size() - 1, {&last, 1});
  last ^= std::byte{1};
  file->write_at(file->size() - 1, {&last, 1});
  const auto load = [&](LocalGroup& group) { load_and_compare(group, disk_, 1); };
  EXPECT_THAT(test::run_threads(2, load), Each(IsEmpty()));
  EXPECT_THAT(test::run_threads(4, load), Each(IsEmpty()));
}

TEST_F(Ranks, LayOutAnewTogether) {
  const auto endings = test::run_threads(2, [&](LocalGroup& group) {
    NodeCommunicator ranks(group);
    SystemClock clock;
    SampleState state;
    StateTree tree = state.tree(ranks.rank(), ranks.size());
    CheckpointEngine engine(options(), ranks, disk_, clock);
    engine.prepare(tree);
    state.fill(1);
    engine.save(tree, {.step = 1});
    state.generator.assign(ranks.rank() == 0 ? 3000 : 10, 'g');  // the room is rank 0's affair
    engine.save_now(tree, {.step = 2});
    state.generator.clear();
    engine.restore(tree, {});
    demand(state.generator.size() == 3000, "the text was cut");
  });
  EXPECT_THAT(endings, Each(IsEmpty()));
}

TEST(SaveSchedule, SavesByTheClockWithFewLooksAndTheSameOnAllRanks) {
  std::vector<std::vector<std::int64_t>> saved(3);
  const auto endings = test::run_threads(3, [&](LocalGroup& group) {
    NodeCommunicator ranks(group);
    VirtualClock clock;
    SaveSchedule schedule({.seconds = 10}, ranks, clock);
    for (std::int64_t step = 1; step <= 1000; ++step) {
      clock.advance(std::chrono::milliseconds(100 + 17 * ranks.rank()));  // clocks never agree
      if (schedule.due(step, std::nullopt)) {
        saved[static_cast<std::size_t>(ranks.rank())].push_back(step);
      }
    }
  });
  EXPECT_THAT(endings, Each(IsEmpty()));
  EXPECT_EQ(saved[0], saved[1]);
  EXPECT_EQ(saved[0], saved[2]);
  ASSERT_GE(saved[0].size(), 9U);
  EXPECT_LE(saved[0].size(), 10U);
  EXPECT_NEAR(static_cast<double>(saved[0][1] - saved[0][0]), 100, 3);
}

/// A first step that took no time at all must not put the next look off for hours.
TEST(SaveSchedule, KeepsItsTimeWhenStepsBecomeAThousandTimesSlower) {
  const auto alone = solo_communicator();
  VirtualClock clock;
  for (const bool automatic : {false, true}) {
    IntervalOptions options;
    options.seconds = automatic ? std::nullopt : std::optional<double>(10);
    SaveSchedule schedule(options, *alone, clock);
    const auto begun = clock.now();
    std::vector<double> saved;
    for (std::int64_t step = 1; step <= 40000 && saved.size() < 2; ++step) {
      clock.advance(std::chrono::microseconds(step < 300 ? 10 : 10000));
      if (schedule.due(step, std::nullopt)) {
        saved.push_back(std::chrono::duration<double>(clock.now() - begun).count());
      }
    }
    ASSERT_EQ(saved.size(), 2U);
    EXPECT_NEAR(saved[0], 10, 1);
    EXPECT_NEAR(saved[1], 20, 1);
  }
}

TEST(SaveSchedule, FollowsTheMeasuredCostWithinItsBudget) {
  const auto alone = solo_communicator();
  VirtualClock clock;
  SaveSchedule schedule({.budget = 0.01}, *alone, clock);
  const SaveCost cost{.stall_seconds = 0.05, .persist_seconds = 2};  // 1 % of 200 s
  std::vector<double> saved;
  const auto begun = clock.now();
  for (std::int64_t step = 1; saved.size() < 4 && step < 10000; ++step) {
    clock.advance(std::chrono::milliseconds(100));
    if (schedule.due(step, saved.empty() ? std::nullopt : std::optional(cost))) {
      saved.push_back(std::chrono::duration<double>(clock.now() - begun).count());
    }
  }
  ASSERT_EQ(saved.size(), 4U);
  EXPECT_NEAR(saved[0], 10, 1);  // no cost is known yet
  for (std::size_t i = 1; i < saved.size(); ++i) {
    EXPECT_NEAR(saved[i] - saved[i - 1], 200, 5);
  }
}

}  // namespace
}  // namespace muster
