// What can be wrong with a data set: a sentence with file, place and remedy each.
// SPDX-License-Identifier: Apache-2.0
#include "tests/data/data_files.h"

#include "runtime/data/loader.h"

namespace muster {
namespace {

using namespace test;
using testing::AllOf;
using testing::HasSubstr;

class BadData : public DataFiles {};

TEST_F(BadData, SaysWhatIsWrongWithAFile) {
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

TEST_F(BadData, SaysThatAValidationSetHasNoRows) {
  EXPECT_THAT(sentence({.format = "synthetic", .validation = "same", .shape = "4", .rows = 8}),
              HasSubstr("data.validation_rows says, which is 0"));
}

TEST_F(BadData, SaysWhenAFileIsCutShort) {
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

// Silence would train them as numbers.
TEST_F(BadData, AsksWhatNegativeLabelsMean) {
  const std::string file = write("minus.csv", "1,0\n2,1\n3,-1\n");
  EXPECT_THAT(sentence({.path = file}),
              AllOf(HasSubstr("row 2: label -1 is negative"), HasSubstr("data.task = values")));
  EXPECT_THAT(sentence({.path = file, .classes = 2}), HasSubstr("none of the 2 classes"));
  EXPECT_EQ(sentence({.path = file, .task = "values"}), "no error");
  EXPECT_EQ(sentence({.path = write("reals.csv", "1,0.5\n2,-1\n")}), "no error");
}

TEST_F(BadData, NamesALabelThatWouldMakeTooManyClasses) {
  const std::string features = write("x.npy", npy("|u1", "3, 1", "123"));
  const std::string labels = write_values<std::int64_t>("y.bin", {0, 1'000'000'000, 1});
  const std::string file = write("y.npy", npy("<i8", "3,", read_file(labels)));
  EXPECT_THAT(sentence({.path = features, .labels = file}),
              AllOf(HasSubstr("y.npy, row 1: label 1000000000 would make 1000000001 classes of 3 "
                              "rows"),
                    HasSubstr("data.classes")));
}

TEST_F(BadData, SaysWhichValueIsWrong) {
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

TEST_F(BadData, SaysWhenABatchDoesNotFitTheSet) {
  const DataSets sets = open({.path = hdf5(9)});
  EXPECT_NO_THROW(check_batch(*sets.train, 9, 9));
  EXPECT_THROW(check_batch(*sets.train, 10, 1), Error);
  EXPECT_THROW(check_batch(*sets.train, 9, 10), Error);
}

TEST_F(BadData, NamesRowsWhoseFilterFails) {
  const std::string path = hdf5(5000, {.chunk = {1000, 2}, .deflate = 3});
  std::string bytes = read_file(path);
  const std::size_t stream = bytes.find("\x78\x5e");  // of zlib
  ASSERT_NE(stream, std::string::npos);
  bytes.replace(stream + 16, 64, 64, '\0');
  write("data.h5", bytes);
  try {
    samples(*open({.path = path}).train);
    FAIL() << "nothing was said";
  } catch (const std::exception& error) {
    EXPECT_THAT(report(error), AllOf(HasSubstr("data.h5: rows "), HasSubstr("of /features cannot"),
                                     HasSubstr("copy or write it again")));
  }
}

}  // namespace
}  // namespace muster
