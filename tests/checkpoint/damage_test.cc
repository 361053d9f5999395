/// Flipped bits, and a thousand saves.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>

#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/base/random.h"
#include "runtime/base/text.h"
#include "runtime/checkpoint/checkpoint_engine.h"
#include "tests/support/memory_file_system.h"
#include "tests/support/sample_state.h"
#include "tests/support/temporary_directory.h"

namespace muster {
namespace {

/// MUSTER_TEST_ROUNDS makes the long form: 1000.
int rounds() {
  const char* text = std::getenv("MUSTER_TEST_ROUNDS");
  return text == nullptr ? 100 : static_cast<int>(parse_int(text).value());
}

std::size_t open_descriptors() {
  return posix_file_system().list("/proc/self/fd").size();
}

std::size_t resident_kib() {
  const std::string text = read_file("/proc/self/status");
  const auto at = text.find("VmRSS:");
  return std::strtoul(text.c_str() + at + 6, nullptr, 10);
}

class Quiet : public testing::Test {
 protected:
  void SetUp() override {
    log::set_sink([](log::Level, std::string_view) {});
  }
  void TearDown() override { log::set_sink({}); }
  std::unique_ptr<Communicator> alone_ = solo_communicator();
  SystemClock clock_;
};

using FlippedBit = Quiet;

TEST_F(FlippedBit, IsNeverLoaded) {
  constexpr std::uint64_t seed = 31;
  std::cout << "seed " << seed << ", " << rounds() << " bits\n";
  test::MemoryFileSystem disk;
  SampleState state;
  const StateTree tree = state.tree();
  const EngineOptions options{.directory = "/run", .interval = {.steps = 1}};
  CheckpointEngine engine(options, *alone_, disk, clock_);
  engine.prepare(tree);
  SampleState first;
  for (const std::int64_t step : {1, 2}) {
    state.fill(step);
    engine.save_now(tree, {.step = step});
    first = step == 1 ? state : first;
  }
  const std::vector<Path> parts{"/run/step-00000002/state.h5", "/run/step-00000002/manifest"};
  Random random(seed);
  for (int i = 0; i < rounds(); ++i) {
    auto file = disk.open(parts[random.below(parts.size())], OpenMode::read_write);
    const std::uint64_t at = random.below(file->size());
    std::byte value{};
    file->read_at(at, {&value, 1});
    const std::byte flipped = value ^ (std::byte{1} << static_cast<int>(random.below(8)));
    file->write_at(at, {&flipped, 1});
    SampleState read;
    StateTree read_tree = read.tree();
    const auto restored = CheckpointEngine(options, *alone_, disk, clock_).restore(read_tree, {});
    ASSERT_TRUE(restored);
    ASSERT_EQ(restored->info.step, 1) << "byte " << at << " of round " << i << ", seed " << seed;
    ASSERT_EQ(read, first);
    file->write_at(at, {&value, 1});
  }
}

using Endurance = Quiet;

TEST_F(Endurance, AThousandSavesLeaveMemoryAndDescriptorsAsTheyWere) {
  const test::TemporaryDirectory directory(test::TemporaryDirectory::fast_parent());
  SampleState state;
  std::vector<float> ballast(200000);
  StateTree tree = state.tree();
  tree.add_whole("model/ballast", std::span(ballast));
  {
    CheckpointEngine engine({.directory = directory.path(), .interval = {.steps = 1}, .keep = 2},
                            *alone_, posix_file_system(), clock_);
    engine.prepare(tree);
    std::size_t memory = 0;
    std::size_t descriptors = 0;
    for (std::int64_t step = 1; engine.counts().committed < 1000; ++step) {
      state.fill(step);
      if (!engine.save(tree, {.step = step})) {
        engine.wait();
      }
      if (step == 100) {
        engine.wait();
        memory = resident_kib();
        descriptors = open_descriptors();
      }
    }
    engine.wait();
    EXPECT_EQ(engine.counts().failed, 0U);
    EXPECT_EQ(open_descriptors(), descriptors);
    EXPECT_LT(resident_kib(), memory + 2048);
    EXPECT_EQ(engine.store().names().size(), 2U);
  }
}

/// A small file system that really is full: tmpfs, which needs root to mount.
TEST_F(Endurance, FindsARealDiskFullAndKeepsTheOldCheckpoint) {
  const test::TemporaryDirectory directory;
  const std::string name = directory.path().string();
  if (std::system(("mount -t tmpfs -o size=3m muster " + name + " 2>/dev/null").c_str()) != 0) {
    GTEST_SKIP() << "mounting a small tmpfs needs root";
  }
  SampleState state;
  std::vector<float> ballast(300000);
  StateTree tree = state.tree();
  tree.add_whole("model/ballast", std::span(ballast));
  {
    CheckpointEngine engine({.directory = Path(name) / "checkpoints", .interval = {.steps = 1}},
                            *alone_, posix_file_system(), clock_);
    engine.prepare(tree);
    state.fill(1);
    engine.save_now(tree, {.step = 1});
    posix_file_system().open(Path(name) / "filler", OpenMode::create)->allocate(1 << 20);
    state.fill(2);
    EXPECT_THROW(engine.save_now(tree, {.step = 2}), Error);
    SampleState read;
    std::vector<float> read_ballast(ballast.size());
    StateTree read_tree = read.tree();
    read_tree.add_whole("model/ballast", std::span(read_ballast));
    const auto restored = engine.restore(read_tree, {});
    ASSERT_TRUE(restored);
    EXPECT_EQ(restored->info.step, 1);
    posix_file_system().remove(Path(name) / "filler");
    engine.save_now(tree, {.step = 2});
  }
  EXPECT_EQ(std::system(("umount " + name).c_str()), 0);
}

}  // namespace
}  // namespace muster
