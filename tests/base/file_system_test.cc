// SPDX-License-Identifier: Apache-2.0
#include "runtime/base/file_system.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <functional>

#include "runtime/base/error.h"
#include "tests/support/temporary_directory.h"

namespace muster {
namespace {

class FileSystemTest : public testing::Test {
 protected:
  test::TemporaryDirectory directory_;
  const Path root_ = directory_.path();
  FileSystem& files_ = posix_file_system();
};

TEST_F(FileSystemTest, WritesWholeFilesAndLeavesNoTemporary) {
  write_file_durably(root_ / "status.json", "one");
  write_file_durably(root_ / "status.json", "two");
  write_file_atomically(root_ / "status.json", "three");
  EXPECT_EQ(read_file(root_ / "status.json"), "three");
  EXPECT_EQ(files_.list(root_), std::vector<std::string>{"status.json"});
}

TEST_F(FileSystemTest, ReadsFilesThatSayTheyAreEmpty) {
  EXPECT_NE(read_file("/proc/self/status").find("Name:"), std::string::npos);
}

TEST_F(FileSystemTest, NamesTheFileThatIsMissing) {
  try {
    read_file(root_ / "none");
    FAIL() << "a missing file was read";
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::io);
    EXPECT_EQ(std::string(error.what()),
              "open " + (root_ / "none").string() + ": No such file or directory");
  }
  EXPECT_EQ(read_file_if_there(root_ / "none"), std::nullopt);
}

TEST_F(FileSystemTest, EveryRefusalNamesWhatWasTriedWhereAndWhy) {
  const auto sentence = [](const std::function<void()>& act) -> std::string {
    try {
      act();
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::io);
      return error.what();
    }
    return "nothing was refused";
  };
  const std::string file = (root_ / "file").string();
  write_file_atomically(file, "");
  const Path below = Path(file) / "x";
  const std::string no_directory = ": Not a directory";
  EXPECT_EQ(sentence([&] { files_.open(file, OpenMode::create); }),
            "create " + file + ": File exists");
  EXPECT_EQ(sentence([&] { files_.open_direct(below, OpenMode::read); }),
            "open " + below.string() + no_directory);
  EXPECT_EQ(sentence([&] { files_.make_directory(below); }),
            "make directory " + below.string() + no_directory);
  EXPECT_EQ(sentence([&] { files_.rename(root_ / "none", file); }),
            "rename " + (root_ / "none").string() + " to " + file + ": No such file or directory");
  EXPECT_EQ(sentence([&] { files_.list(file); }), "list " + file + no_directory);
  EXPECT_EQ(sentence([&] { files_.sync_directory(file); }),
            "open directory " + file + no_directory);
  EXPECT_EQ(sentence([&] { files_.free_bytes(below); }),
            "ask for the free space of " + below.string() + no_directory);
  std::array<std::byte, 1> byte{};
  EXPECT_EQ(sentence([&] { files_.open(root_, OpenMode::read)->read_at(0, byte); }),
            "read " + root_.string() + ": Is a directory");
  EXPECT_EQ(sentence([&] { files_.open("/dev/full", OpenMode::append)->append(byte); }),
            "write /dev/full: No space left on device");
  EXPECT_EQ(sentence([&] { files_.open(file, OpenMode::read)->truncate(1); }),
            "truncate " + file + ": Invalid argument");
  EXPECT_EQ(sentence([&] { files_.open(file, OpenMode::read)->allocate(1); }),
            "reserve space for " + file + ": Bad file descriptor");
  EXPECT_EQ(sentence([&] { files_.open("/dev/full", OpenMode::append)->sync(); }),
            "fsync /dev/full: Invalid argument");
  EXPECT_THAT(sentence([&] { files_.remove("/proc/self/stat"); }),
              testing::StartsWith("remove /proc/self/stat: "));
}

TEST_F(FileSystemTest, ReadsAndWritesAtOffsetsAndRefusesToOverwrite) {
  auto file = files_.open(root_ / "data", OpenMode::create);
  file->allocate(1 << 20);
  EXPECT_EQ(file->size(), 0U);
  file->write_at(4, as_bytes("abcd"));
  std::array<std::byte, 16> read{};
  EXPECT_EQ(file->read_at(2, read), 6U);
  EXPECT_EQ(std::memcmp(read.data(), "\0\0abcd", 6), 0);
  EXPECT_THROW(files_.open(root_ / "data", OpenMode::create), Error);
}

TEST_F(FileSystemTest, AppendsAfterWhatIsThere) {
  files_.open(root_ / "journal", OpenMode::append)->append(as_bytes("one "));
  auto file = files_.open(root_ / "journal", OpenMode::append);
  file->append(as_bytes("two"));
  file->sync_data();
  EXPECT_EQ(read_file(root_ / "journal"), "one two");
}

TEST_F(FileSystemTest, ReadsPastThePageCacheToTheLastUnevenByte) {
  files_.open(root_ / "data", OpenMode::create)->append(std::vector<std::byte>(5000, std::byte{7}));
  auto file = files_.open_direct(root_ / "data", OpenMode::read);
  if (!file) {
    GTEST_SKIP() << "this file system has no direct input";
  }
  alignas(4096) static std::array<std::byte, 8192> read;
  EXPECT_EQ(file->read_at(0, read), 5000U);
  EXPECT_EQ(read[4999], std::byte{7});
}

TEST_F(FileSystemTest, MakesDirectoriesWithTheirParents) {
  make_directory_durably(root_ / "a" / "b", files_);
  make_directory_durably(root_ / "a" / "b", files_);
  EXPECT_TRUE(files_.exists(root_ / "a" / "b"));
}

TEST_F(FileSystemTest, ListsSortedAndRemovesTrees) {
  files_.make_directory(root_ / "a" / "b");
  write_file_atomically(root_ / "a" / "c", "");
  EXPECT_EQ(files_.list(root_ / "a"), (std::vector<std::string>{"b", "c"}));
  files_.remove(root_ / "a");
  EXPECT_FALSE(files_.exists(root_ / "a"));
  EXPECT_TRUE(files_.list(root_ / "a").empty());
  files_.remove(root_ / "a");
}

}  // namespace
}  // namespace muster
