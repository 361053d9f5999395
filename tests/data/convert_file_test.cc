// SPDX-License-Identifier: Apache-2.0
#include "runtime/data/convert_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/base/error.h"
#include "runtime/data/dataset.h"
#include "runtime/data/hdf5.h"
#include "tests/support/temporary_directory.h"

namespace muster {
namespace {

using testing::HasSubstr;

class ConvertFileTest : public testing::Test {
 protected:
  void SetUp() override {
    write_file_atomically(root_ / "a.csv", "x,y,kind\n1,2,0\n3,4,1\n5,6,2\n");
  }
  DataSettings csv() const { return {.path = (root_ / "a.csv").string()}; }
  test::TemporaryDirectory directory_;
  const Path root_ = directory_.path();
};

TEST_F(ConvertFileTest, WritesWhatTrainingReads) {
  const Path out = root_ / "a.h5";
  const Converted done = convert_to_hdf5(csv(), out);
  EXPECT_EQ(done.rows, 3U);
  EXPECT_EQ(done.features, "2 float32");
  EXPECT_EQ(done.classes, 3);
  verify_converted(out);
  const auto node = solo_node_group();
  const DataSets before = open_data(csv(), *node);
  const DataSets after = open_data({.path = out.string(), .tier = "mapped"}, *node);
  EXPECT_EQ(after.train->tier(), "mapped");
  EXPECT_EQ(after.train->fingerprint().substr(0, 20), before.train->fingerprint().substr(0, 20));
  for (std::uint64_t row = 0; row < 3; ++row) {
    std::vector<std::byte> features[2], labels[2];
    for (int i = 0; i < 2; ++i) {
      features[i].resize(8);
      labels[i].resize(8);
      (i == 0 ? before : after).train->gather({&row, 1}, features[i], labels[i]);
    }
    EXPECT_EQ(features[0], features[1]);
    EXPECT_EQ(labels[0], labels[1]);
  }
  EXPECT_EQ(posix_file_system().list(root_), (std::vector<std::string>{"a.csv", "a.h5"}));
}

TEST_F(ConvertFileTest, FindsDamage) {
  const Path out = root_ / "a.h5";
  convert_to_hdf5(csv(), out);
  const std::uint64_t offset = *h5::File::open(out).dataset("/features").info().offset;
  posix_file_system().open(out, OpenMode::read_write)->write_at(offset + 2, as_bytes("!"));
  try {
    verify_converted(out);
    FAIL() << "damage went unseen";
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::bad_input);
    EXPECT_THAT(error.what(), HasSubstr("a.h5: data set /features is damaged"));
  }
}

TEST_F(ConvertFileTest, WritesNothingFromBadData) {
  write_file_atomically(root_ / "a.csv", "1,0\nnan,1\n");
  EXPECT_THROW(convert_to_hdf5(csv(), root_ / "a.h5"), Error);
  EXPECT_FALSE(posix_file_system().exists(root_ / "a.h5"));
}

TEST_F(ConvertFileTest, KeepsTheDigitsThatComeAlong) {
  const auto node = solo_node_group();
  const DataSets sets = open_data({.path = MUSTER_DIGITS, .validation_fraction = 0.2}, *node);
  EXPECT_EQ(sets.train->rows() + sets.validation->rows(), 1797U);
  EXPECT_EQ(sets.train->shape().text(), "features 1 x 8 x 8 float32, labels in 10 classes");
  std::vector<std::byte> features(64 * 4), label(8);
  float most = 0;
  for (std::uint64_t row = 0; row < sets.train->rows(); ++row) {
    sets.train->gather({&row, 1}, features, label);
    for (int i = 0; i < 64; ++i) {
      most = std::max(most, reinterpret_cast<const float*>(features.data())[i]);
    }
  }
  EXPECT_EQ(most, 1);
}

}  // namespace
}  // namespace muster
