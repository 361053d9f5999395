// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/snapshot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include "runtime/base/error.h"
#include "runtime/base/file_system.h"
#include "runtime/data/hdf5.h"
#include "tests/support/sample_state.h"

namespace muster {
namespace {

using testing::HasSubstr;

TEST(Layout, GivesEveryTensorItsOwnPlaceAndCoversTheFile) {
  SampleState state;
  const Layout layout = make_layout(state.tree());
  std::uint64_t bytes = 0;
  for (const TensorPlace& tensor : layout.tensors) {
    bytes += tensor.bytes();
    EXPECT_EQ(tensor.bytes() >= 4096 ? tensor.offset % 4096 : 0, 0U) << tensor.name;
  }
  for (const RecordPlace& record : layout.records) {
    bytes += record.bytes;
  }
  for (const Fragment& fragment : layout.skeleton) {
    bytes += fragment.bytes.size();
  }
  EXPECT_EQ(bytes, layout.file_bytes);
}

TEST(Layout, IsTheSameEachTime) {
  SampleState state;
  EXPECT_EQ(to_bytes(make_layout(state.tree())), to_bytes(make_layout(state.tree())));
}

TEST(Layout, TravelsBetweenRanks) {
  SampleState state;
  const std::string bytes = to_bytes(make_layout(state.tree()));
  EXPECT_EQ(to_bytes(layout_from_bytes(bytes)), bytes);
}

TEST(Snapshot, IsAnHdf5FileThatSaysWhatItHolds) {
  SampleState state;
  state.fill(900);
  StateTree tree = state.tree();
  Snapshot snapshot(Plan::make(tree));
  snapshot.take(tree, {.step = 900});
  const Path path = testing::TempDir() + "muster-snapshot-" + std::to_string(::getpid()) + ".h5";
  posix_file_system().open(path, OpenMode::create_or_cut)->write_at(0, snapshot.image());
  {
    const h5::File file = h5::File::open(path);
    std::vector<float> weight(state.weight.size());
    const h5::Dataset dataset = file.dataset("/model/fc1.weight");
    EXPECT_EQ(dataset.info().shape, (h5::Shape{30, 50}));
    dataset.read(std::as_writable_bytes(std::span(weight)), h5::Scalar::float32);
    EXPECT_EQ(weight, state.weight);
    std::int64_t step = 0;
    file.dataset("/records/step")
        .read(std::as_writable_bytes(std::span(&step, 1)), h5::Scalar::int64);
    EXPECT_EQ(step, 900);
    EXPECT_EQ(file.text("/", "format"), "Muster checkpoint");
  }
  posix_file_system().remove(path);
}

TEST(Snapshot, HoldsWhatWasThereWhenItWasTaken) {
  SampleState state;
  state.fill(1);
  const SampleState then = state;
  StateTree tree = state.tree();
  Snapshot snapshot(Plan::make(tree));
  snapshot.take(tree, {.step = 1});
  state.fill(2);
  snapshot.restore(tree);
  EXPECT_EQ(state, then);
}

TEST(Snapshot, ClonesIntoAnotherState) {
  SampleState state;
  state.fill(5);
  StateTree tree = state.tree();
  Snapshot snapshot(Plan::make(tree));
  snapshot.take(tree, {.step = 5});
  SampleState clone;
  StateTree clone_tree = clone.tree();
  snapshot.restore(clone_tree);
  EXPECT_EQ(clone, state);
}

TEST(Snapshot, RefusesAStateOfAnotherShape) {
  SampleState state;
  StateTree tree = state.tree();
  Snapshot snapshot(Plan::make(tree));
  state.bias.resize(11);
  EXPECT_THROW(snapshot.take(state.tree(), {}), Error);
}

TEST(StateTree, RefusesNamesAndRangesThatCannotBe) {
  StateTree tree;
  std::vector<float> values(4);
  EXPECT_THROW(tree.add_whole("", std::span(values)), Error);
  EXPECT_THROW(tree.add_whole("a b", std::span(values)), Error);
  EXPECT_THROW(tree.add_whole("/a", std::span(values)), Error);
  EXPECT_THROW(tree.add_whole("records/a", std::span(values)), Error);
  EXPECT_THROW(
      tree.add({.name = "a", .shape = {3}, .bytes = std::as_writable_bytes(std::span(values))}),
      Error);
  tree.add_whole("a", std::span(values));
  EXPECT_THROW(tree.add_whole("a", std::span(values), {2, 2}), Error);
}

TEST(Plan, NamesTheTensorThatNobodyHolds) {
  SampleState state;
  StateTree tree;
  tree.add_whole("model/a", std::span(state.bias));
  tree.add({.name = "model/b", .shape = {10}});
  try {
    Plan::make(tree);
    FAIL() << "a tensor without an owner was accepted";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("model/b"));
  }
}

}  // namespace
}  // namespace muster
