/// What may a power cut leave on the disk, at any moment of three saves, and is any of it ever
/// taken for something it is not?
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <iostream>

#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/base/random.h"
#include "runtime/checkpoint/checkpoint_engine.h"
#include "tests/support/memory_file_system.h"
#include "tests/support/sample_state.h"

namespace muster {
namespace {

using test::DiskTrace;
using test::Loss;
using test::MemoryFileSystem;

constexpr std::int64_t saves = 3;

SampleState state_at(std::int64_t step) {
  SampleState state;
  state.fill(step);
  return state;
}

/// Three saves of a run that keeps two, with the length of the trace when each was reported
/// durable.
struct Recording {
  DiskTrace trace;
  std::vector<std::size_t> durable_at;  // of step 1, 2, 3
};

class CrashStates : public testing::Test {
 protected:
  void SetUp() override {
    log::set_sink([](log::Level, std::string_view) {});
  }
  void TearDown() override { log::set_sink({}); }

  EngineOptions options() const {
    return {.directory = "/run/checkpoints", .interval = {.steps = 1}, .keep = 2};
  }

  Recording record() {
    Recording recording;
    MemoryFileSystem disk;
    SampleState state;
    const StateTree tree = state.tree();
    CheckpointEngine engine(options(), *alone_, disk, clock_);
    engine.prepare(tree);
    for (std::int64_t step = 1; step <= saves; ++step) {
      state.fill(step);
      engine.save_now(tree, {.step = step});
      recording.durable_at.push_back(disk.trace_length());
    }
    recording.trace = disk.trace();
    return recording;
  }

  /// Boots from the disk that `loss` leaves. What is loaded must be whole, and no older than what
  /// was reported durable.
  void boot(const Recording& recording, const Loss& loss, bool go_on = false) {
    ++booted_;
    MemoryFileSystem disk(recording.trace, loss);
    SampleState state;
    StateTree tree = state.tree();
    CheckpointEngine engine(options(), *alone_, disk, clock_);
    const auto restored = engine.restore(tree, {});
    std::int64_t least = 0;
    while (least < saves && recording.durable_at[static_cast<std::size_t>(least)] <= loss.length) {
      ++least;
    }
    const std::int64_t step = restored ? restored->info.step : 0;
    ASSERT_GE(step, least) << describe(loss);
    ASSERT_EQ(state, restored ? state_at(step) : SampleState{}) << describe(loss);
    if (go_on) {
      engine.prepare(tree);
      state.fill(step + 10);
      engine.save_now(tree, {.step = step + 10});
      SampleState read;
      StateTree read_tree = read.tree();
      ASSERT_EQ(engine.restore(read_tree, {})->info.step, step + 10) << describe(loss);
      ASSERT_EQ(read, state);
    }
  }

  static std::string describe(const Loss& loss) {
    std::string text = "cut after operation " + std::to_string(loss.length) + ", lost";
    for (const std::size_t operation : loss.operations) {
      text += " " + std::to_string(operation);
    }
    for (const auto& [operation, page] : loss.pages) {
      text += " " + std::to_string(operation) + "/page" + std::to_string(page);
    }
    return text;
  }

  std::unique_ptr<Communicator> alone_ = solo_communicator();
  SystemClock clock_;
  std::size_t booted_ = 0;
};

TEST_F(CrashStates, EveryCutWithNoneEachAndAllOfWhatWasNotSyncedLost) {
  const Recording recording = record();
  ASSERT_GT(recording.trace.size(), 30U);
  for (std::size_t length = 0; length <= recording.trace.size(); ++length) {
    const auto pending = test::unsynced(recording.trace, length);
    boot(recording, {.length = length}, true);
    boot(recording, {.length = length, .operations = {pending.begin(), pending.end()}}, true);
    for (const std::size_t one : pending) {
      boot(recording, {.length = length, .operations = {one}});
      std::set<std::size_t> all_but_one(pending.begin(), pending.end());
      all_but_one.erase(one);
      boot(recording, {.length = length, .operations = all_but_one});
    }
    ASSERT_FALSE(HasFatalFailure());
  }
  std::cout << "booted from " << booted_ << " disks of a trace of " << recording.trace.size()
            << " operations\n";
}

TEST_F(CrashStates, EveryWriteTornAtEveryPage) {
  const Recording recording = record();
  for (std::size_t length = 0; length <= recording.trace.size(); ++length) {
    for (const std::size_t one : test::unsynced(recording.trace, length)) {
      if (recording.trace[one].kind != test::DiskOperation::Kind::write) {
        continue;
      }
      const std::uint64_t pages = test::pages_of(recording.trace[one]);
      Loss head{.length = length};  // grows from the front: only the end arrived
      Loss tail{.length = length};
      for (std::uint64_t page = 0; page < pages; ++page) {
        head.pages.insert({one, page});
        tail.pages.insert({one, pages - 1 - page});
        boot(recording, head);
        boot(recording, tail);
        boot(recording, {.length = length, .pages = {{one, page}}});
      }
    }
    ASSERT_FALSE(HasFatalFailure());
  }
  std::cout << "booted from " << booted_ << " disks\n";
}

TEST_F(CrashStates, TenThousandSubsetsOfWhatWasNotSynced) {
  constexpr std::uint64_t seed = 20261121;
  std::cout << "seed " << seed << "\n";
  const Recording recording = record();
  Random random(seed);
  for (int i = 0; i < 10000; ++i) {
    Loss loss{.length = random.below(recording.trace.size() + 1)};
    const double share = random.uniform();
    for (const std::size_t one : test::unsynced(recording.trace, loss.length)) {
      if (random.uniform() < share) {
        loss.operations.insert(one);
      } else if (recording.trace[one].kind == test::DiskOperation::Kind::write) {
        for (std::uint64_t page = 0; page < test::pages_of(recording.trace[one]); ++page) {
          if (random.uniform() < share / 2) {
            loss.pages.insert({one, page});
          }
        }
      }
    }
    boot(recording, loss, i % 50 == 0);
    ASSERT_FALSE(HasFatalFailure()) << "state " << i << " of seed " << seed;
  }
}

/// The enumeration itself finds what it is there to find: an engine that forgets one fsync would
/// not pass.
TEST_F(CrashStates, FindsTheFaultWhenSyncsAreForgotten) {
  Recording recording = record();
  std::erase_if(recording.trace, [](const test::DiskOperation& operation) {
    return operation.kind == test::DiskOperation::Kind::sync;
  });
  const std::size_t length = recording.trace.size();
  const auto pending = test::unsynced(recording.trace, length);
  bool found = false;
  for (const std::size_t one : pending) {
    MemoryFileSystem disk(recording.trace, {.length = length, .operations = {one}});
    SampleState state;
    StateTree tree = state.tree();
    const auto restored = CheckpointEngine(options(), *alone_, disk, clock_).restore(tree, {});
    found = found || !restored || restored->info.step < saves;
  }
  EXPECT_TRUE(found);
}

}  // namespace
}  // namespace muster
