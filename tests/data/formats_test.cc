// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "runtime/base/error.h"
#include "runtime/config/data_settings.h"
#include "runtime/data/dataset.h"
#include "runtime/data/hdf5.h"
#include "runtime/data/loader.h"

namespace muster {
namespace {

using testing::ElementsAre;
using testing::FloatEq;
using testing::HasSubstr;
using testing::Pointwise;

class FormatsTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "muster-data-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  std::string write(const std::string& name, const std::string& bytes) {
    write_file_atomically(root_ / name, bytes);
    return (root_ / name).string();
  }
  template <class T>
  std::string write_values(const std::string& name, const std::vector<T>& values) {
    return write(name, {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)});
  }
  DataSets open(const DataSettings& settings) { return open_data(settings, *node_); }
  std::string sentence(const DataSettings& settings) {
    try {
      const DataSets sets = open(settings);
      samples(*sets.train);
      return "no error";
    } catch (const std::exception& error) {
      EXPECT_EQ(exit_code_of(error), 64) << report(error);
      return report(error);
    }
  }

  /// Every row in file order.
  struct Samples {
    std::vector<float> features;
    std::vector<std::int64_t> classes;
    std::vector<float> values;
  };
  static Samples samples(const Dataset& set) {
    std::vector<std::uint64_t> rows(set.rows());
    std::iota(rows.begin(), rows.end(), 0);
    std::vector<std::byte> features(rows.size() * set.shape().feature_bytes());
    std::vector<std::byte> labels(rows.size() * set.shape().label_bytes());
    set.gather(rows, features, labels);
    Samples all;
    all.features.resize(features.size() / 4);
    std::memcpy(all.features.data(), features.data(), features.size());
    if (set.shape().labels == DataShape::Labels::values) {
      all.values.resize(labels.size() / 4);
      std::memcpy(all.values.data(), labels.data(), labels.size());
    } else {
      all.classes.resize(labels.size() / 8);
      std::memcpy(all.classes.data(), labels.data(), labels.size());
    }
    return all;
  }

  /// An HDF5 file of `rows` rows {i, -i}, labels i % 3.
  std::string hdf5(std::uint64_t rows, const h5::Layout& layout = {}) {
    const std::string path = (root_ / "data.h5").string();
    auto file = h5::File::create(path);
    std::vector<float> features;
    std::vector<std::int32_t> labels;
    for (std::uint64_t i = 0; i < rows; ++i) {
      features.insert(features.end(), {static_cast<float>(i), -static_cast<float>(i)});
      labels.push_back(static_cast<std::int32_t>(i % 3));
    }
    file.create_dataset("/features", h5::Scalar::float32, {rows, 2}, layout)
        .write(std::as_bytes(std::span(features)), h5::Scalar::float32);
    file.create_dataset("/labels", h5::Scalar::int32, {rows})
        .write(std::as_bytes(std::span(labels)), h5::Scalar::int32);
    return path;
  }

  Path root_;
  std::unique_ptr<NodeGroup> node_ = solo_node_group();
};

std::string idx(std::vector<std::uint32_t> lengths, unsigned char code,
                const std::string& payload) {
  std::string bytes{'\0', '\0', static_cast<char>(code), static_cast<char>(lengths.size())};
  for (const std::uint32_t length : lengths) {
    for (int shift = 24; shift >= 0; shift -= 8) {
      bytes += static_cast<char>(length >> shift & 0xff);
    }
  }
  return bytes + payload;
}

std::string npy(const std::string& type, const std::string& shape, const std::string& payload) {
  std::string head =
      "{'descr': '" + type + "', 'fortran_order': False, 'shape': (" + shape + "), }";
  head.resize((head.size() + 10 + 64) / 64 * 64 - 10, ' ');
  head.back() = '\n';
  return std::string("\x93NUMPY\x01\x00", 8) + static_cast<char>(head.size() & 0xff) +
         static_cast<char>(head.size() >> 8) + head + payload;
}

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

TEST_F(FormatsTest, SaysWhatIsWrongWithAFile) {
  EXPECT_THAT(sentence({.path = "/no/such.h5"}), HasSubstr("there is no file /no/such.h5"));
  EXPECT_THAT(sentence({}), HasSubstr("data.path is missing"));
  EXPECT_THAT(sentence({.path = write("a.xyz", "1")}),
              HasSubstr("does not show its format; set data.format"));
  EXPECT_THAT(sentence({.path = write("a.h5", "text")}), HasSubstr("no HDF5 file"));
  EXPECT_THAT(
      sentence({.path = hdf5(9), .features_name = "x"}),
      HasSubstr("there is no data set /x (data.features_name); the file has /features, /labels"));
  EXPECT_THAT(sentence({.path = hdf5(9), .shape = "3 3"}),
              HasSubstr("data.shape = 3 3 has 9 values, but a row"));
  EXPECT_THAT(sentence({.path = write("c.csv", "1,2\n3\n")}),
              HasSubstr("c.csv:2: 1 columns, but the first line has 2"));
  EXPECT_THAT(sentence({.path = write("d.csv", "1,2\n3,four\n")}),
              HasSubstr("d.csv:2: column 1 holds 'four'"));
  EXPECT_THAT(
      sentence({.path = write("a.npy", npy(">f8", "2, 2", std::string(32, '\0'))), .labels = "x"}),
      HasSubstr("astype('<f4')"));
}

TEST_F(FormatsTest, SaysWhenAFileIsCutShort) {
  const std::string path = hdf5(5000);
  std::filesystem::resize_file(path, 30000);
  EXPECT_THAT(sentence({.path = path}), HasSubstr("cut short"));
  const std::string images = write("train-images-idx3-ubyte", idx({3, 2, 2}, 0x08, "12345678"));
  write("train-labels-idx1-ubyte", idx({3}, 0x08, std::string("\x00\x01\x02", 3)));
  EXPECT_THAT(
      sentence({.path = images}),
      HasSubstr("is cut short: 3 rows of 4 bytes should follow byte 16, only 8 bytes are there"));
  EXPECT_THAT(sentence({.path = write("a.bin", std::string(3074, '\0')), .format = "cifar10"}),
              HasSubstr("3074 bytes are not whole rows of 3073"));
  EXPECT_THAT(sentence({.path = write("a.npy", npy("<f4", "9, 2", "1234")),
                        .labels = write("y.npy", npy("|u1", "9,", "123456789"))}),
              HasSubstr("is cut short: 9 rows of 8 bytes"));
  EXPECT_THAT(sentence({.path = write("t.bin", "123"), .format = "tokens"}),
              HasSubstr("no whole number of uint16 tokens"));
  EXPECT_THAT(sentence({.path = write("u.bin", "1234"), .format = "tokens"}),
              HasSubstr("2 tokens, too few for a sample"));
}

TEST_F(FormatsTest, SaysWhichValueIsWrong) {
  EXPECT_THAT(sentence({.path = write("nan.csv", "1,0\nnan,1\n")}),
              HasSubstr("nan.csv, row 1: a feature is NaN or infinite"));
  EXPECT_EQ(sentence({.path = write("nan.csv", "1,0\nnan,1\n"), .check_values = false}),
            "no error");
  EXPECT_THAT(sentence({.path = hdf5(9), .classes = 2}),
              HasSubstr("data set /labels, row 2: label 2 is none of the 2 classes (0 to 1)"));
  EXPECT_THAT(sentence({.path = write("half.csv", "1,0\n2,0.5\n"), .task = "classes"}),
              HasSubstr("row 1: label 0.5 is none"));
  EXPECT_THAT(sentence({.path = write_values<std::uint16_t>("a.bin", {1, 2, 30, 4}),
                        .format = "tokens",
                        .context = 3,
                        .vocabulary = 10}),
              HasSubstr("token 30 at position 2 is outside the vocabulary of 10"));
  const std::string labels = write("y.npy", npy("|u1", "3,", "123"));
  EXPECT_THAT(sentence({.path = write("x.npy", npy("|u1", "2, 1", "12")), .labels = labels}),
              HasSubstr("has 2 rows, but"));
}

TEST_F(FormatsTest, SaysWhenABatchDoesNotFitTheSet) {
  const DataSets sets = open({.path = hdf5(9)});
  EXPECT_NO_THROW(check_batch(*sets.train, 9, 9));
  EXPECT_THROW(check_batch(*sets.train, 10, 1), Error);
  EXPECT_THROW(check_batch(*sets.train, 9, 10), Error);
}

class LoaderTest : public FormatsTest {
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

}  // namespace
}  // namespace muster
