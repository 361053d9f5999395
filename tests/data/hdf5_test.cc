// SPDX-License-Identifier: Apache-2.0
#include "runtime/data/hdf5.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#include "runtime/base/error.h"
#include "tests/support/temporary_directory.h"

namespace muster::h5 {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class Hdf5Test : public testing::Test {
 protected:
  void SetUp() override { path_ = root_ / "a.h5"; }
  test::TemporaryDirectory directory_;
  const Path root_ = directory_.path();
  Path path_;
};

template <class T>
std::span<const std::byte> bytes(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

template <class T>
std::vector<T> read_all(const Dataset& dataset, Scalar memory) {
  std::vector<T> values(elements_of(dataset.info().shape));
  dataset.read(std::as_writable_bytes(std::span(values)), memory);
  return values;
}

TEST_F(Hdf5Test, TellsWhereAContiguousDataSetLies) {
  auto file = File::create(path_);
  auto dataset = file.create_dataset("/parameters/fc.weight", Scalar::float32, {300, 10});
  ASSERT_TRUE(dataset.info().offset.has_value());
  EXPECT_EQ(*dataset.info().offset % 4096, 0U);
  file.close();
  // The payload goes past the library, as the checkpoint writer does it.
  std::vector<float> values(3000);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(i);
  }
  posix_file_system()
      .open(path_, OpenMode::read_write)
      ->write_at(*dataset.info().offset, bytes(values));
  EXPECT_EQ(read_all<float>(File::open(path_).dataset("/parameters/fc.weight"), Scalar::float32),
            values);
}

TEST_F(Hdf5Test, ReadsAndWritesRowsAndConverts) {
  auto file = File::create(path_);
  auto dataset = file.create_dataset("/x", Scalar::int16, {4, 2},
                                     {.chunk = {2, 2}, .deflate = 1, .shuffle = true});
  dataset.write_rows(1, 2, bytes(std::vector<std::int32_t>{1, -2, 3, 4}), Scalar::int32);
  std::vector<double> row(2);
  dataset.read_rows(1, 1, std::as_writable_bytes(std::span(row)), Scalar::float64);
  EXPECT_THAT(row, ElementsAre(1, -2));
  EXPECT_FALSE(dataset.info().offset.has_value());
  EXPECT_TRUE(dataset.info().is_filtered);
  EXPECT_THAT(dataset.info().chunk, ElementsAre(2, 2));
  EXPECT_THROW(dataset.read_rows(3, 2, std::as_writable_bytes(std::span(row)), Scalar::float64),
               Error);
}

TEST_F(Hdf5Test, KeepsEveryScalarType) {
  auto file = File::create(path_);
  for (int i = 0; i <= static_cast<int>(Scalar::uint64); ++i) {
    const auto scalar = static_cast<Scalar>(i);
    auto dataset = file.create_dataset("/" + std::string(name_of(scalar)), scalar, {2});
    dataset.write(bytes(std::vector<float>{1.0F, 2.0F}), Scalar::float32);
    EXPECT_EQ(dataset.info().scalar, scalar) << name_of(scalar);
    EXPECT_THAT(read_all<float>(dataset, Scalar::float32), ElementsAre(1.0F, 2.0F))
        << name_of(scalar);
  }
  EXPECT_EQ(file.datasets().size(), 12U);
}

TEST_F(Hdf5Test, HalfFloatsHaveTheUsualBits) {
  auto file = File::create(path_);
  file.create_dataset("/half", Scalar::float16, {1})
      .write(bytes(std::vector<float>{1.5F}), Scalar::float32);
  file.create_dataset("/brain", Scalar::bfloat16, {1})
      .write(bytes(std::vector<float>{1.5F}), Scalar::float32);
  std::uint16_t bits = 0;
  const auto into = std::as_writable_bytes(std::span(&bits, 1));
  file.dataset("/half").read(into, Scalar::float16);
  EXPECT_EQ(bits, 0x3e00);
  file.dataset("/brain").read(into, Scalar::bfloat16);
  EXPECT_EQ(bits, 0x3fc0);
}

TEST_F(Hdf5Test, KeepsAttributes) {
  auto file = File::create(path_);
  file.make_group("/a/b");
  file.make_group("/a/b");
  file.set_text("/", "format", "muster 1");
  file.set_text("/", "format", "muster 2");
  file.set_int("/a", "step", 900);
  file.set_double("/a/b", "best", 0.25);
  file.set_ints("/", "shape", std::vector<std::int64_t>{3, 4});
  file.set_doubles("/", "none", {});
  file.close();
  const auto again = File::open(path_);
  EXPECT_EQ(again.text("/", "format"), "muster 2");
  EXPECT_EQ(again.integer("/a", "step"), 900);
  EXPECT_EQ(again.real("/a/b", "best"), 0.25);
  EXPECT_THAT(*again.ints("/", "shape"), ElementsAre(3, 4));
  EXPECT_TRUE(again.doubles("/", "none")->empty());
  EXPECT_EQ(again.text("/", "missing"), std::nullopt);
  EXPECT_THAT(again.attributes("/"), ElementsAre("format", "none", "shape"));
  EXPECT_THROW((void)again.text("/a", "step"), Error);
}

TEST_F(Hdf5Test, KnowsWhatIsThere) {
  auto file = File::create(path_);
  file.create_dataset("/a/b/x", Scalar::uint8, {});
  EXPECT_TRUE(file.has("/"));
  EXPECT_TRUE(file.has("/a/b/x"));
  EXPECT_FALSE(file.has("/a/c/x"));
  EXPECT_THAT(file.datasets(), ElementsAre("/a/b/x"));
  try {
    file.dataset("/y");
    FAIL() << "a missing data set was opened";
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::bad_input);
    EXPECT_THAT(error.what(), HasSubstr("a.h5: there is no data set /y (HDF5: H5"));
  }
}

TEST_F(Hdf5Test, SaysWhenAFileIsMissingForeignOrCutShort) {
  auto message = [&] {
    try {
      File::open(path_);
      return std::string("opened");
    } catch (const Error& error) {
      return std::string(error.what());
    }
  };
  EXPECT_THAT(message(), HasSubstr("No such file"));
  write_file_atomically(path_, "plain text");
  EXPECT_THAT(message(), HasSubstr("this is no HDF5 file"));
  File::create(path_).create_dataset("/x", Scalar::float32, {10000});
  posix_file_system().open(path_, OpenMode::read_write)->truncate(20000);
  EXPECT_THAT(message(), HasSubstr("cut short"));
}

TEST_F(Hdf5Test, ServesManyThreads) {
  File::create(path_)
      .create_dataset("/x", Scalar::int32, {64})
      .write(bytes(std::vector<std::int32_t>(64, 7)), Scalar::int32);
  std::vector<std::jthread> threads;
  std::atomic<int> wrong = 0;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        const auto file = File::open(path_);
        wrong += read_all<std::int32_t>(file.dataset("/x"), Scalar::int32) !=
                 std::vector<std::int32_t>(64, 7);
        wrong += file.has("/none");
      }
    });
  }
  threads.clear();
  EXPECT_EQ(wrong, 0);
}

TEST_F(Hdf5Test, OutlivesItsDataSets) {
  auto file = File::create(path_);
  auto dataset = file.create_dataset("/x", Scalar::int32, {1});
  file.close();
  EXPECT_EQ(dataset.info().path, "/x");  // and its handle goes quietly
}

}  // namespace
}  // namespace muster::h5
