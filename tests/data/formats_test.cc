// SPDX-License-Identifier: Apache-2.0
#include "tests/data/data_files.h"

#include <zlib.h>

#include <cmath>

namespace muster {
namespace {

using namespace test;
using testing::ElementsAre;
using testing::FloatEq;
using testing::HasSubstr;
using testing::Pointwise;

class FormatsTest : public DataFiles {};

TEST_F(FormatsTest, ReadsHdf5InEveryTierAlike) {
  DataSettings settings{.path = hdf5(50)};
  const Samples plain = samples(*open(settings).train);
  EXPECT_EQ(open(settings).train->tier(), "resident");
  EXPECT_EQ(plain.features[5], -2.0F);
  EXPECT_EQ(plain.classes[49], 1);
  EXPECT_EQ(open(settings).train->shape().text(), "features 2 float32, labels in 3 classes");
  settings.tier = "mapped";
  EXPECT_EQ(open(settings).train->tier(), "mapped");
  EXPECT_EQ(samples(*open(settings).train).features, plain.features);
  hdf5(50, {.chunk = {7, 2}, .deflate = 3});
  settings.tier = "blocked";
  settings.window_blocks = 2;
  const DataSets blocked = open(settings);
  EXPECT_EQ(blocked.train->tier(), "blocked");
  EXPECT_EQ(blocked.train->mixing().block_rows, 7U);
  EXPECT_FALSE(blocked.train->random_access());
  EXPECT_EQ(samples(*blocked.train).features, plain.features);
  EXPECT_EQ(samples(*blocked.train).classes, plain.classes);
  settings.tier = "auto";
  EXPECT_EQ(open(settings).train->tier(), "resident");
  settings.tier = "mapped";
  EXPECT_THAT(sentence(settings), HasSubstr("cannot be mapped: it is chunked"));
}

TEST_F(FormatsTest, ReadsBigEndianHdf5Rightly) {  // through IDX: HDF5 of other byte order takes the
                                                  // blocked path, as above
  const DataSettings settings{
      .path = write("x.idx", idx({2, 1}, 0x0b, std::string("\x01\x02\xff\xfe", 4))),
      .labels = write("y.idx", idx({2}, 0x08, std::string("\x00\x01", 2)))};
  EXPECT_THAT(samples(*open(settings).train).features, ElementsAre(258, -2));
}

TEST_F(FormatsTest, ReadsIdxPlainAndGzipped) {
  const std::string pixels("\x00\x33\xff\x66", 4);
  DataSettings settings{.path = write("train-images-idx3-ubyte", idx({2, 1, 2}, 0x08, pixels))};
  write("train-labels-idx1-ubyte", idx({2}, 0x08, std::string("\x07\x09", 2)));
  const DataSets sets = open(settings);
  EXPECT_THAT(sets.train->shape().features, ElementsAre(1, 2));
  EXPECT_EQ(sets.train->shape().classes, 10);
  EXPECT_THAT(samples(*sets.train).features, Pointwise(FloatEq(), {0.0F, 0.2F, 1.0F, 0.4F}));
  EXPECT_THAT(samples(*sets.train).classes, ElementsAre(7, 9));
  const std::string zipped = (root_ / "zipped-idx3.gz").string();
  gzFile file = gzopen(zipped.c_str(), "wb");
  const std::string bytes = idx({2, 1, 2}, 0x08, pixels);
  gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size()));
  gzclose(file);
  settings.path = zipped;
  settings.labels = (root_ / "train-labels-idx1-ubyte").string();
  EXPECT_THAT(samples(*open(settings).train).features,
              Pointwise(FloatEq(), {0.0F, 0.2F, 1.0F, 0.4F}));
}

TEST_F(FormatsTest, ReadsCifarWithItsTestSet) {
  std::string row = std::string(1, '\x03') + std::string(3072, '\x80');
  row[1] = '\xff';
  for (int i = 1; i <= 5; ++i) {
    write("data_batch_" + std::to_string(i) + ".bin", row + row);
  }
  write("test_batch.bin", row);
  const DataSets sets = open({.path = root_.string()});
  EXPECT_EQ(sets.train->rows(), 10U);
  ASSERT_NE(sets.validation, nullptr);
  EXPECT_EQ(sets.validation->rows(), 1U);
  EXPECT_THAT(sets.train->shape().features, ElementsAre(3, 32, 32));
  EXPECT_EQ(samples(*sets.train).features[0], 1.0F);
  EXPECT_EQ(samples(*sets.train).features[3073], 128 / 255.0F);
  EXPECT_EQ(samples(*sets.train).classes[9], 3);
  const DataSettings hundred{.path = write("train100.bin", '\x05' + row + '\x06' + row),
                             .format = "cifar100"};
  EXPECT_EQ(open(hundred).train->shape().classes, 100);
}

TEST_F(FormatsTest, ReadsCsvWithItsHeader) {
  DataSettings settings{.path = write("a.csv", "x,\"y\",kind\n1.5,2,0\n\n-1,4e2,2\n")};
  const Samples all = samples(*open(settings).train);
  EXPECT_THAT(all.features, ElementsAre(1.5, 2, -1, 400));
  EXPECT_THAT(all.classes, ElementsAre(0, 2));
  settings.label_column = "x";
  EXPECT_THAT(samples(*open(settings).train).values, ElementsAre(1.5, -1));
  settings.label_column = "z";
  EXPECT_THAT(sentence(settings), HasSubstr("has no such column; it has 3 columns: x, y, kind"));
}

TEST_F(FormatsTest, ReadsNpy) {
  const std::vector<double> features{1, 2, 3, 4};
  const DataSettings settings{
      .path =
          write("x.npy", npy("<f8", "2, 2", {reinterpret_cast<const char*>(features.data()), 32})),
      .labels = write("y.npy", npy("|u1", "2,", std::string("\x00\x01", 2)))};
  EXPECT_THAT(samples(*open(settings).train).features, ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(samples(*open(settings).train).classes, ElementsAre(0, 1));
}

TEST_F(FormatsTest, CutsTokensIntoWindows) {
  const DataSettings settings{
      .path = write_values<std::uint16_t>("a.bin", {1, 2, 3, 4, 5, 6, 7, 8}),
      .format = "tokens",
      .context = 3};
  const DataSets sets = open(settings);
  EXPECT_EQ(sets.train->rows(), 2U);
  EXPECT_EQ(sets.train->shape().classes, 9);
  const std::vector<std::uint64_t> second{1};
  std::vector<std::int64_t> inputs(3), next(3);
  sets.train->gather(second, std::as_writable_bytes(std::span(inputs)),
                     std::as_writable_bytes(std::span(next)));
  EXPECT_THAT(inputs, ElementsAre(4, 5, 6));
  EXPECT_THAT(next, ElementsAre(5, 6, 7));
}

/// A tenth of five windows is rounded to one, and their rest to four.
TEST_F(FormatsTest, SetsTheEndOfATextApart) {
  const DataSets sets =
      open({.path = write_values<std::uint16_t>("a.bin", {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}),
            .format = "tokens",
            .validation_fraction = 0.1,
            .context = 2});
  EXPECT_EQ(sets.train->rows(), 4U);
  ASSERT_EQ(sets.validation->rows(), 1U);
  const std::vector<std::uint64_t> first{0};
  std::vector<std::int64_t> inputs(2), next(2);
  sets.validation->gather(first, std::as_writable_bytes(std::span(inputs)),
                          std::as_writable_bytes(std::span(next)));
  EXPECT_THAT(inputs, ElementsAre(9, 10));
}

TEST_F(FormatsTest, MakesSyntheticRowsOfAnyShape) {
  DataSettings settings{
      .format = "synthetic", .classes = 4, .shape = "3 4 4", .rows = 40, .validation_rows = 8};
  const DataSets sets = open(settings);
  EXPECT_THAT(sets.train->shape().features, ElementsAre(3, 4, 4));
  EXPECT_EQ(sets.validation->rows(), 8U);
  const Samples first = samples(*sets.train);
  settings.rows = 20;
  const Samples fewer = samples(*open(settings).train);
  EXPECT_TRUE(std::equal(fewer.features.begin(), fewer.features.end(), first.features.begin()));
  EXPECT_NE(std::vector<float>(first.features.begin(), first.features.begin() + 48),
            samples(*sets.validation).features);
  settings.task = "tokens";
  EXPECT_EQ(open(settings).train->shape().labels, DataShape::Labels::tokens);
}

TEST_F(FormatsTest, DrawsAValidationSet) {
  DataSettings settings{.path = hdf5(100), .validation_fraction = 0.2};
  const DataSets sets = open(settings);
  EXPECT_EQ(sets.train->rows(), 80U);
  EXPECT_EQ(sets.validation->rows(), 20U);
  std::vector<float> seen;
  for (const Dataset* each : {sets.train.get(), sets.validation.get()}) {
    const Samples part = samples(*each);
    for (std::size_t i = 0; i < part.features.size(); i += 2) {
      seen.push_back(part.features[i]);
    }
  }
  std::ranges::sort(seen);
  for (std::size_t i = 0; i < seen.size(); ++i) {
    EXPECT_EQ(seen[i], static_cast<float>(i));
  }
  settings.validation_fraction = 0.001;
  EXPECT_THAT(sentence(settings), HasSubstr("both parts need rows"));
}

TEST_F(FormatsTest, Normalises) {
  DataSettings settings{.path = hdf5(4), .normalize = "standard"};
  const Samples standard = samples(*open(settings).train);
  const double deviation = std::sqrt(1.25);
  EXPECT_NEAR(standard.features[0], -1.5 / deviation, 1e-6);
  EXPECT_NEAR(standard.features[7], -1.5 / deviation, 1e-6);
  settings.mean = "1 2";
  settings.deviation = "2 4";
  EXPECT_THAT(samples(*open(settings).train).features,
              ElementsAre(-0.5, -0.5, 0, -0.75, 0.5, -1, 1, -1.25));
  EXPECT_EQ(open(settings).train->normalisation(),
            (Normalisation{.scale = {0.5, 0.25}, .shift = {-0.5, -0.5}}));
  settings.mean = "1 2 3";
  EXPECT_THAT(sentence(settings), HasSubstr("one for each of 2 channels"));
}

TEST_F(FormatsTest, TellsFilesApart) {
  const DataSettings settings{.path = hdf5(50)};
  const std::string before = open(settings).train->fingerprint();
  EXPECT_EQ(open(settings).train->fingerprint(), before);
  hdf5(51);
  EXPECT_NE(open(settings).train->fingerprint(), before);
}

}  // namespace
}  // namespace muster
