// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/checkpoint_engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <limits>

#include "runtime/base/crc32c.h"
#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "tests/support/faulty_file_system.h"
#include "tests/support/memory_file_system.h"
#include "tests/support/sample_state.h"
#include "tests/support/temporary_directory.h"

namespace muster {
namespace {

using test::Fate;
using test::FaultyFileSystem;
using test::MemoryFileSystem;
using testing::HasSubstr;

CheckpointInfo info_of(std::int64_t step) {
  return {.step = step,
          .settings = {{"model.kind", "mlp"}, {"optimizer.lr", "0.1"}},
          .environment = {{"ranks", "1"}}};
}

/// A run directory, an engine for it, and the lines it logs.
class EngineTest : public testing::Test {
 protected:
  void SetUp() override {
    log::set_sink([this](log::Level level, std::string_view line) {
      const std::lock_guard lock(mutex_);
      warnings_ += level == log::Level::warning ? std::string(line) + "\n" : "";
    });
  }
  void TearDown() override { log::set_sink({}); }
  EngineOptions options() const {
    return {.directory = root_ / "checkpoints", .interval = {.steps = 1}, .poison = true};
  }
  std::unique_ptr<CheckpointEngine> engine(FileSystem& files = posix_file_system()) {
    return std::make_unique<CheckpointEngine>(options(), *alone_, files, clock_);
  }
  std::string warnings() {
    const std::lock_guard lock(mutex_);
    return warnings_;
  }
  /// Saves steps 1..n, each durable before the next.
  void save_steps(std::int64_t n, FileSystem& files = posix_file_system()) {
    SampleState state;
    const StateTree tree = state.tree();
    auto saver = engine(files);
    saver->prepare(tree);
    for (std::int64_t step = 1; step <= n; ++step) {
      state.fill(step);
      saver->save_now(tree, info_of(step));
    }
  }
  std::optional<Restored> restore(SampleState& state, const CheckpointInfo& expected = info_of(0),
                                  FileSystem& files = posix_file_system()) {
    StateTree tree = state.tree();
    return engine(files)->restore(tree, expected);
  }
  static SampleState expected_at(std::int64_t step) {
    SampleState state;
    state.fill(step);
    return state;
  }

  test::TemporaryDirectory directory_;
  const Path root_ = directory_.path();
  std::unique_ptr<Communicator> alone_ = solo_communicator();
  SystemClock clock_;
  std::mutex mutex_;
  std::string warnings_;
};

TEST_F(EngineTest, RestoresWhatItSaved) {
  save_steps(1);
  SampleState state;
  const auto restored = restore(state);
  ASSERT_TRUE(restored);
  EXPECT_EQ(restored->info.step, 1);
  EXPECT_EQ(state, expected_at(1));
}

TEST_F(EngineTest, FindsNothingInAnEmptyDirectory) {
  SampleState state;
  EXPECT_EQ(restore(state), std::nullopt);
  EXPECT_EQ(state, SampleState{});
}

TEST_F(EngineTest, KeepsTheOldValuesWhenTheStateChangesRightAfterSave) {
  SampleState state;
  const StateTree tree = state.tree();
  auto saver = engine();
  saver->prepare(tree);
  state.fill(5);
  ASSERT_TRUE(saver->save(tree, info_of(5)));
  state.fill(6, 99);  // batch norm's buffers, the generator, everything
  saver->wait();
  SampleState read;
  restore(read);
  EXPECT_EQ(read, expected_at(5));
}

/// Holds what it copied into until what finish_later() gave is gone, as the mover of a GPU does.
class LeasingMover final : public Mover {
 public:
  void out(std::span<std::byte> host, const TensorSlice& /*slice*/,
           std::span<const std::byte> from) override {
    std::ranges::copy(from, host.begin());
  }
  void in(const TensorSlice& /*slice*/, std::span<std::byte> to,
          std::span<const std::byte> host) override {
    std::ranges::copy(host, to.begin());
  }
  void finish() override {}
  std::function<void()> finish_later() override {
    auto lease = std::make_shared<int>(0);
    lease_ = lease;
    return [lease] {};
  }
  bool is_held() const { return !lease_.expired(); }

 private:
  std::weak_ptr<int> lease_;
};

/// The next save may take the slot from then on, and with it the mover's memory.
TEST_F(EngineTest, LetsGoOfTheMoversMemoryBeforeTheCommit) {
  LeasingMover mover;
  std::atomic<int> commits = 0;
  std::atomic<int> held = 0;
  FaultyFileSystem files(posix_file_system(), [&](std::string_view operation, const Path&) {
    if (operation == "rename") {
      ++commits;
      held += mover.is_held() ? 1 : 0;
    }
    return Fate{};
  });
  SampleState state;
  const StateTree tree = state.tree();
  auto saver = engine(files);
  saver->set_mover(mover);
  saver->prepare(tree);
  saver->save(tree, info_of(1));
  saver->wait();
  EXPECT_GT(commits, 0);
  EXPECT_EQ(held, 0);
}

/// Has no memory for the copies that it is told of.
class FullMover final : public Mover {
 public:
  void out(std::span<std::byte> /*host*/, const TensorSlice& /*slice*/,
           std::span<const std::byte> /*from*/) override {}
  void in(const TensorSlice& /*slice*/, std::span<std::byte> /*to*/,
          std::span<const std::byte> /*host*/) override {}
  void finish() override { throw Error(Fault::io, "out of memory"); }
};

TEST_F(EngineTest, WarnsLoudlyWhenAPeriodicSaveCannotCopyTheState) {
  SampleState state;
  const StateTree tree = state.tree();
  auto saver = engine();
  saver->prepare(tree);
  state.fill(1);
  saver->save_now(tree, info_of(1));
  FullMover mover;
  saver->set_mover(mover);
  saver->save(tree, info_of(2));
  saver->wait();
  EXPECT_THAT(warnings(), HasSubstr("the checkpoint of step 2 was not saved; training goes on, and "
                                    "the older ones are untouched: out of memory"));
  EXPECT_THROW(saver->save_now(tree, info_of(3)), Error);
  EXPECT_EQ(saver->last_committed(), 1);
  saver->set_mover(host_mover());
  state.fill(4);
  saver->save_now(tree, info_of(4));
  SampleState read;
  restore(read);
  EXPECT_EQ(read, expected_at(4));
}

TEST_F(EngineTest, TakesTheNewestAndFallsBackWhenItIsDamaged) {
  save_steps(3);
  const Path newest = root_ / "checkpoints" / "step-00000003" / "state.h5";
  std::filesystem::resize_file(newest, std::filesystem::file_size(newest) - 1);
  SampleState state;
  const auto restored = restore(state);
  ASSERT_TRUE(restored);
  EXPECT_EQ(state, expected_at(2));
  ASSERT_EQ(restored->skipped.size(), 1U);
  EXPECT_THAT(restored->skipped[0].problem, HasSubstr("were written"));
  EXPECT_THAT(warnings(), HasSubstr("a checkpoint is skipped"));
}

TEST_F(EngineTest, SavesTheSameStepAgainWithoutTouchingTheFirst) {
  save_steps(2);
  save_steps(2);
  EXPECT_TRUE(std::filesystem::exists(root_ / "checkpoints" / "step-00000002.2"));
  SampleState state;
  EXPECT_EQ(restore(state)->path.filename(), "step-00000002.2");
}

TEST_F(EngineTest, KeepsTheNewestAndTheBest) {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  for (const auto& scores : {std::vector{0.1, 0.9, 0.5, 0.4, 0.3}, {0.1, 0.9, nan, nan, nan}}) {
    SampleState state;
    const StateTree tree = state.tree();
    EngineOptions keeping = options();
    keeping.keep = 2;
    keeping.keep_best = 1;
    CheckpointEngine saver(keeping, *alone_, posix_file_system(), clock_);
    saver.prepare(tree);
    for (std::size_t i = 0; i < scores.size(); ++i) {
      const auto step = static_cast<int>(i) + 1;
      state.fill(step);
      CheckpointInfo info = info_of(step);
      info.score = scores[i];
      saver.save_now(tree, info);
    }
    std::vector<std::string> names;
    for (const Path& path : saver.store().names()) {
      names.push_back(path.filename().string());
      std::filesystem::remove_all(path);
    }
    EXPECT_EQ(names, (std::vector<std::string>{"step-00000005", "step-00000004", "step-00000002"}));
  }
}

TEST_F(EngineTest, RemovesWhatADeadWriterLeft) {
  posix_file_system().make_directory(root_ / "checkpoints" / ".tmp-host-1-7");
  save_steps(1);
  EXPECT_FALSE(std::filesystem::exists(root_ / "checkpoints" / ".tmp-host-1-7"));
  EXPECT_EQ(posix_file_system().list(root_ / "checkpoints"),
            std::vector<std::string>{"step-00000001"});
}

TEST_F(EngineTest, LaysOutAnewWhenATextOutgrowsItsRoom) {
  SampleState state;
  const StateTree tree = state.tree();
  auto saver = engine();
  saver->prepare(tree);
  state.fill(1);
  saver->save_now(tree, info_of(1));
  state.generator.assign(5000, 'x');
  saver->save_now(tree, info_of(2));
  SampleState read;
  restore(read);
  EXPECT_EQ(read.generator, state.generator);
}

TEST_F(EngineTest, WritesThroughThePageCacheWhereDirectIsRefused) {
  FaultyFileSystem files(posix_file_system(), [](std::string_view, const Path&) { return Fate{}; });
  files.refuses_direct = true;
  SampleState state;
  state.fill(1);
  auto saver = engine(files);
  saver->prepare(state.tree());
  EXPECT_FALSE(saver->is_direct());
  saver->save_now(state.tree(), info_of(1));
  SampleState read;
  ASSERT_TRUE(restore(read, info_of(0), files));
  EXPECT_EQ(read, state);
}

TEST_F(EngineTest, RefusesAnotherConfigurationAndNamesTheSettings) {
  save_steps(1);
  CheckpointInfo other = info_of(0);
  other.settings[1].value = "0.01";
  SampleState state;
  try {
    restore(state, other);
    FAIL() << "a checkpoint of another configuration was loaded";
  } catch (const Error& error) {
    EXPECT_EQ(fault_of(error), Fault::bad_input);
    EXPECT_THAT(report(error), HasSubstr("optimizer.lr is 0.1 there and 0.01 here"));
  }
  EXPECT_EQ(state, SampleState{});
}

TEST_F(EngineTest, RefusesAnotherModelAndNamesTheTensor) {
  save_steps(1);
  SampleState state;
  state.bias.resize(11);
  try {
    restore(state);
    FAIL() << "a checkpoint of another model was loaded";
  } catch (const Error& error) {
    EXPECT_EQ(fault_of(error), Fault::bad_input);
    EXPECT_THAT(report(error),
                HasSubstr("model/fc1.bias is float32 [10] there and float32 [11] here"));
  }
}

TEST_F(EngineTest, RefusesANewerFormatInsteadOfFallingBack) {
  save_steps(2);
  const Path manifest = root_ / "checkpoints" / "step-00000002" / "manifest";
  std::string text = read_file(manifest);
  text.replace(0, 19, "muster-checkpoint 9");
  text.resize(text.size() - 16);
  std::array<char, 32> line{};
  std::snprintf(line.data(), line.size(), "crc32c %08x\n", crc32c(0, text.data(), text.size()));
  write_file_atomically(manifest, text + line.data());
  SampleState state;
  try {
    restore(state);
    FAIL() << "a newer format was passed over";
  } catch (const Error& error) {
    EXPECT_EQ(fault_of(error), Fault::bad_input);
    EXPECT_THAT(report(error), HasSubstr("checkpoint format 9"));
  }
}

TEST_F(EngineTest, WarnsOfAChangedEnvironmentAndGoesOn) {
  save_steps(1);
  CheckpointInfo other = info_of(0);
  other.environment[0].value = "4";
  SampleState state;
  const auto restored = restore(state, other);
  ASSERT_EQ(restored->warnings.size(), 1U);
  EXPECT_THAT(restored->warnings[0], HasSubstr("ranks is 1 there and 4 here"));
}

TEST_F(EngineTest, LoadsAcrossVersionsThatKnowOtherSettingsAndSaysSo) {
  save_steps(1);
  CheckpointInfo other = info_of(0);
  other.settings[0] = {.key = "train.novelty", .value = "3"};
  SampleState state;
  const auto restored = restore(state, other);
  ASSERT_TRUE(restored);
  EXPECT_THAT(restored->warnings,
              testing::ElementsAre(HasSubstr("train.novelty is 3 here and unknown there"),
                                   HasSubstr("model.kind is mlp there and unknown here")));
}

/// Every operation of a save fails once, in every way: the older checkpoint stands and training
/// goes on.
TEST_F(EngineTest, SurvivesEveryInjectedFaultOfASave) {
  for (const Fate fate : {Fate{ENOSPC}, Fate{EIO}, Fate{EROFS}, Fate{ENOSPC, true}}) {
    for (int victim = 0;; ++victim) {
      MemoryFileSystem disk;
      int countdown = -1;
      bool was_hit = false;
      FaultyFileSystem files(disk, [&](std::string_view, const Path&) {
        was_hit = was_hit || countdown == 0;
        return countdown-- == 0 ? fate : Fate{};
      });
      SampleState state;
      const StateTree tree = state.tree();
      CheckpointEngine saver({.directory = "/run", .interval = {.steps = 1}}, *alone_, files,
                             clock_);
      saver.prepare(tree);
      state.fill(1);
      saver.save_now(tree, info_of(1));
      countdown = victim;
      state.fill(2);
      saver.save(tree, info_of(2));
      saver.wait();
      const auto after_fault = saver.counts();
      countdown = -1;
      SampleState read;
      StateTree read_tree = read.tree();
      ASSERT_TRUE(saver.restore(read_tree, info_of(0)));
      EXPECT_EQ(read, expected_at(after_fault.failed > 0 && read.step == 1 ? 1 : 2))
          << "operation " << victim;
      state.fill(3);
      saver.save_now(tree, info_of(3));
      ASSERT_TRUE(saver.restore(read_tree, info_of(0)));
      EXPECT_EQ(read, expected_at(3)) << "operation " << victim;
      if (!was_hit) {
        EXPECT_GT(victim, 5) << "the save did almost nothing";
        break;
      }
    }
  }
}

TEST_F(EngineTest, WarnsLoudlyWhenAPeriodicSaveFindsTheDiskFull) {
  save_steps(1);
  bool is_full = false;
  FaultyFileSystem files(posix_file_system(), [&](std::string_view operation, const Path&) {
    return is_full && operation == "allocate" ? Fate{ENOSPC} : Fate{};
  });
  SampleState state;
  const StateTree tree = state.tree();
  auto saver = engine(files);
  saver->prepare(tree);
  is_full = true;
  state.fill(2);
  EXPECT_TRUE(saver->save(tree, info_of(2)));
  saver->wait();
  EXPECT_EQ(saver->counts().failed, 1U);
  EXPECT_THAT(warnings(), HasSubstr("the checkpoint of step 2 was not saved; training goes on"));
  EXPECT_THAT(warnings(), HasSubstr("No space left on device"));
  SampleState read;
  restore(read);
  EXPECT_EQ(read, expected_at(1));
}

TEST_F(EngineTest, MakesAFailedFinalSaveAnError) {
  FaultyFileSystem files(posix_file_system(), [](std::string_view operation, const Path&) {
    return operation == "rename" ? Fate{EIO} : Fate{};
  });
  SampleState state;
  auto saver = engine(files);
  saver->prepare(state.tree());
  try {
    saver->save_now(state.tree(), info_of(7));
    FAIL() << "a save that failed was taken for one that did not";
  } catch (const Error& error) {
    EXPECT_EQ(fault_of(error), Fault::io);
    EXPECT_THAT(report(error), HasSubstr("saving the checkpoint of step 7"));
    EXPECT_THAT(report(error), HasSubstr("Input/output error"));
  }
}

TEST_F(EngineTest, SaysAtTheStartThatTheDirectoryCannotBeWritten) {
  FaultyFileSystem files(posix_file_system(), [](std::string_view operation, const Path&) {
    return operation == "create" ? Fate{EROFS} : Fate{};
  });
  SampleState state;
  try {
    engine(files)->prepare(state.tree());
    FAIL() << "a read-only directory was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(fault_of(error), Fault::io);
    EXPECT_THAT(report(error), HasSubstr("Read-only file system"));
  }
}

TEST_F(EngineTest, SkipsAndCountsWhenBothSlotsAreBusy) {
  std::mutex gate;
  std::unique_lock closed(gate);
  bool is_gated = false;
  FaultyFileSystem files(posix_file_system(), [&](std::string_view operation, const Path&) {
    if (is_gated && operation == "allocate") {
      const std::lock_guard wait(gate);
    }
    return Fate{};
  });
  SampleState state;
  const StateTree tree = state.tree();
  auto saver = engine(files);
  saver->prepare(tree);
  is_gated = true;
  EXPECT_TRUE(saver->save(tree, info_of(1)));
  EXPECT_TRUE(saver->save(tree, info_of(2)));
  EXPECT_FALSE(saver->save(tree, info_of(3)));
  EXPECT_GT(saver->predicted_save().count(), 0);
  closed.unlock();
  saver->wait();
  EXPECT_EQ(saver->counts().committed, 2U);
  EXPECT_EQ(saver->counts().skipped, 1U);
  EXPECT_EQ(saver->last_committed(), 2);
}

TEST_F(EngineTest, CommitsManySmallStatesAsOne) {
  CheckpointStore store(root_ / "groups");
  std::vector<std::unique_ptr<Snapshot>> snapshots;
  std::vector<GroupMember> members;
  for (int trial = 0; trial < 16; ++trial) {
    SampleState state;
    state.fill(trial, 1000);
    const StateTree tree = state.tree();
    snapshots.push_back(std::make_unique<Snapshot>(Plan::make(tree)));
    snapshots.back()->take(tree, info_of(trial));
    members.push_back(
        {.name = "trial-" + std::to_string(trial), .snapshot = snapshots.back().get()});
  }
  commit_group(store, members, clock_);
  EXPECT_EQ(store.names().size(), 1U);
  SampleState read;
  StateTree tree = read.tree();
  ASSERT_TRUE(restore_member(store, "trial-11", tree, info_of(0)));
  SampleState eleventh;
  eleventh.fill(11, 1000);
  EXPECT_EQ(read, eleventh);
  EXPECT_EQ(restore_member(store, "trial-99", tree, info_of(0)), std::nullopt);
}

TEST_F(EngineTest, KeepsOfGroupsWhatSomebodyLastWrote) {
  CheckpointStore store(root_ / "groups");
  SampleState state;
  const StateTree tree = state.tree();
  Snapshot snapshot(Plan::make(tree));
  const auto commit = [&](std::int64_t step, const std::vector<std::string>& names) {
    snapshot.take(tree, info_of(step));
    std::vector<GroupMember> members;
    for (const std::string& name : names) {
      members.push_back({.name = name, .snapshot = &snapshot});
    }
    commit_group(store, members, clock_);
  };
  commit(1, {"a", "b"});
  commit(2, {"b", "c"});
  commit(3, {"b"});
  store.retain_members({"a.h5", "b.h5"});
  std::vector<std::string> left;
  for (const Path& path : store.names()) {
    left.push_back(path.filename().string());
  }
  EXPECT_EQ(left, (std::vector<std::string>{"step-00000003", "step-00000001"}));
}

}  // namespace
}  // namespace muster
