// SPDX-License-Identifier: Apache-2.0
#include "tests/data/data_files.h"

#include <thread>

#include "runtime/data/loader.h"

namespace muster {
namespace {

using namespace test;
using testing::ElementsAre;
using testing::HasSubstr;

class LoaderTest : public DataFiles {
 protected:
  /// Feature 0 of the samples of `steps` batches, each tagged with its position.
  static std::vector<float> take(Loader& loader, int steps, std::size_t row_bytes) {
    std::vector<float> seen;
    for (int i = 0; i < steps; ++i) {
      const HostBatch& batch = loader.next();
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(batch.features.data()) % 64, 0U);
      for (std::size_t k = 0; k < batch.part.count; ++k) {
        float value = 0;
        std::memcpy(&value, batch.features.data() + k * row_bytes, sizeof value);
        seen.push_back(value);
      }
    }
    return seen;
  }
};

TEST_F(LoaderTest, GivesEveryRowOnceAnEpochInEveryTier) {
  hdf5(50, {.chunk = {7, 2}});
  for (const std::string tier : {"resident", "blocked"}) {
    const DataSets sets =
        open({.path = (root_ / "data.h5").string(), .tier = tier, .window_blocks = 2});
    Loader loader(*sets.train, {.batch = 8, .seed = 5});
    EXPECT_EQ(loader.steps_per_epoch(), 7U);
    for (int epoch = 0; epoch < 3; ++epoch) {
      std::vector<float> seen = take(loader, 7, 8);
      EXPECT_FALSE(std::ranges::is_sorted(seen));
      std::ranges::sort(seen);
      ASSERT_EQ(seen.size(), 50U);
      for (std::size_t i = 0; i < 50; ++i) {
        EXPECT_EQ(seen[i], static_cast<float>(i)) << tier;
      }
    }
  }
}

TEST_F(LoaderTest, SeeksAnywhereAndRanksShareTheOrder) {
  const DataSets sets = open({.path = hdf5(50), .tier = "mapped"});
  Loader whole(*sets.train, {.batch = 8, .seed = 5});
  const std::vector<float> all = take(whole, 21, 8);
  Loader later(*sets.train, {.batch = 8, .seed = 5});
  (void)later.next();
  later.seek({.epoch = 1, .step = 6});
  EXPECT_EQ(later.next().position, (DataPosition{.epoch = 1, .step = 6}));
  later.seek({.epoch = 1, .step = 6});
  EXPECT_EQ(take(later, 8, 8), std::vector<float>(all.begin() + 98, all.end()));
  std::vector<float> joined;
  std::vector<std::unique_ptr<Loader>> ranks;
  for (std::uint64_t rank = 0; rank < 3; ++rank) {
    ranks.push_back(std::make_unique<Loader>(
        *sets.train,
        Loader::Options{.batch = 8, .seed = 5, .part = [rank](SampleRange whole_batch) {
                          return part_of(whole_batch, rank, 3);
                        }}));
  }
  for (int step = 0; step < 21; ++step) {
    for (auto& rank : ranks) {
      const std::vector<float> part = take(*rank, 1, 8);
      joined.insert(joined.end(), part.begin(), part.end());
    }
  }
  EXPECT_EQ(joined, all);
}

TEST_F(LoaderTest, ThrowsWhatTheDataThrows) {
  const DataSets sets = open({.path = write("nan.csv", "nan,0\n1,1\n"), .tier = "auto"});
  Loader loader(*sets.train, {.batch = 2});
  EXPECT_THROW(loader.next(), Error);
  const std::string path = hdf5(50, {.chunk = {7, 2}});
  auto file = h5::File::open_for_update(path);
  const std::vector<float> nan{NAN, 0};
  file.dataset("/features").write_rows(20, 1, std::as_bytes(std::span(nan)), h5::Scalar::float32);
  file.close();
  const DataSets blocked = open({.path = path, .tier = "blocked"});
  Loader ahead(*blocked.train, {.batch = 50});
  EXPECT_THROW(ahead.next(), Error);
}

/// As an evaluation while the next batches are read ahead; and the run's fingerprint before that.
TEST_F(LoaderTest, BothSetsOfABlockedFileAreReadAtOnce) {
  hdf5(400, {.chunk = {4, 2}});
  const DataSets sets = open({.path = (root_ / "data.h5").string(),
                              .validation_fraction = 0.5,
                              .tier = "blocked",
                              .window_blocks = 1});
  const std::string known = sets.train->fingerprint();
  const Samples alone = samples(*sets.validation);
  std::jthread ahead([&] {
    for (int pass = 0; pass < 50; ++pass) {
      samples(*sets.train);
    }
  });
  for (int pass = 0; pass < 50; ++pass) {
    ASSERT_EQ(samples(*sets.validation).features, alone.features);
    ASSERT_EQ(sets.train->fingerprint(), known);
  }
}

}  // namespace
}  // namespace muster
